import DustinSupport
import Foundation
import XCTest

#if canImport(FoundationXML)
  import FoundationXML
#endif

/// A page's text, elements and attributes. It must be well-formed XML.
final class MarkupReader: NSObject, XMLParserDelegate {
  private(set) var text = ""
  private(set) var elements: [String: Int] = [:]
  private(set) var attributes: [String] = []

  init(_ page: String) throws {
    super.init()
    let parser = XMLParser(data: Data(page.utf8))
    parser.delegate = self
    guard parser.parse() else {
      throw DiagnosticError("xml", "\(String(describing: parser.parserError)) in line \(parser.lineNumber)")
    }
  }

  func parser(_ parser: XMLParser, foundCharacters string: String) { text += string }
  func parser(
    _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
    attributes: [String: String]
  ) {
    elements[name, default: 0] += 1
    self.attributes += attributes.values
  }
}
