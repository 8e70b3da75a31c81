import XCTest
final class DustinSupportPlaceholderTests: XCTestCase {}
