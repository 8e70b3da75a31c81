import XCTest
final class DustinIRPlaceholderTests: XCTestCase {}
