import XCTest
final class DustinRuntimePlaceholderTests: XCTestCase {}
