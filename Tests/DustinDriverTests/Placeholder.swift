import XCTest
final class DustinDriverPlaceholderTests: XCTestCase {}
