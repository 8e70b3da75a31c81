import XCTest
final class DustinPassesPlaceholderTests: XCTestCase {}
