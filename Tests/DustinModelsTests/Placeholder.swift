import XCTest
final class DustinModelsPlaceholderTests: XCTestCase {}
