import XCTest
final class DustinTextPlaceholderTests: XCTestCase {}
