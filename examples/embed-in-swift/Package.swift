// swift-tools-version:6.0
import PackageDescription

// Any git URL of Dustin; run.sh makes one of this checkout.
let url = Context.environment["DUSTIN_URL"] ?? "file:///path/to/dustin"

let package = Package(
  name: "continue-a-book",
  dependencies: [.package(url: url, from: "0.1.0")],
  targets: [
    .executableTarget(
      name: "continue-a-book",
      dependencies: [
        .product(name: "DustinDriver", package: "dustin"),
        .product(name: "DustinRuntime", package: "dustin"),
      ])
  ]
)
