import XCTest
final class DustinCodegenPlaceholderTests: XCTestCase {}
