// swift-tools-version:6.0
import PackageDescription

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The LLVM that the distribution ships. `llvm-dev` makes /usr/include/llvm-c -> ../lib/llvm-NN/include/llvm-c,
/// and libLLVM-NN.so lies in the default library path: NN is all that linking needs.
func distributionLLVM() -> String? {
  var buffer = [CChar](repeating: 0, count: 4096)
  let length = readlink("/usr/include/llvm-c", &buffer, buffer.count - 1)
  guard length > 0 else { return nil }
  let target = String(decoding: buffer[0..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  guard let folder = target.split(separator: "/").first(where: { $0.hasPrefix("llvm-") }) else { return nil }
  return String(folder.dropFirst(5))
}

let llvm = distributionLLVM() ?? "14"

let package = Package(
  name: "dustin",
  products: [
    .executable(name: "dustin", targets: ["dustin"]),
    .library(name: "DustinIR", targets: ["DustinIR"]),
    .library(name: "DustinPasses", targets: ["DustinPasses"]),
    .library(name: "DustinRuntime", targets: ["DustinRuntime"]),
    .library(name: "DustinDriver", targets: ["DustinDriver"]),
    .library(name: "DustinTesting", targets: ["DustinTesting", "DustinDriver"]),
    .library(name: "DustinBundle", type: .static, targets: ["DustinBundle"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0")
  ],
  targets: [
    .target(name: "CLLVM", linkerSettings: [.linkedLibrary("LLVM-\(llvm)")]),
    .target(name: "COpenBLAS", linkerSettings: [.linkedLibrary("openblas")]),
    .target(name: "CDustin"),
    .target(name: "CRunner"),
    .target(name: "CBundle"),
    .target(name: "DustinSupport", dependencies: ["CDustin"]),
    .target(name: "DustinText", dependencies: ["DustinSupport"]),
    .target(name: "DustinIR", dependencies: ["DustinSupport"]),
    .target(name: "DustinTesting", dependencies: ["DustinIR"]),
    .target(name: "DustinPasses", dependencies: ["DustinIR"]),
    .target(name: "DustinModels", dependencies: ["DustinIR"]),
    .target(name: "DustinInterpreter", dependencies: ["DustinIR", "COpenBLAS"]),
    .target(name: "DustinCodegen", dependencies: ["DustinIR", "CLLVM", "CDustin"]),
    .target(name: "DustinRuntime", dependencies: ["DustinSupport", "CDustin"]),
    .target(name: "DustinRunner", dependencies: ["DustinRuntime", "DustinText", "DustinSupport", "CDustin"]),
    .target(
      name: "DustinDriver",
      dependencies: [
        "DustinPasses", "DustinModels", "DustinText", "DustinInterpreter", "DustinCodegen", "DustinRuntime",
        "DustinRunner", "DustinTesting", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      // What stands in every bundle; the header is the one that the runtime is compiled with.
      resources: [
        .embedInCode("Compile/BundleFiles/dustin.h"), .embedInCode("Compile/BundleFiles/main.c"),
        .embedInCode("Compile/BundleFiles/Makefile"),
      ]),
    .target(name: "DustinBundle", dependencies: ["DustinRunner", "CBundle", "CRunner"]),
    .executableTarget(name: "dustin-runner", dependencies: ["DustinRunner", "CRunner"]),
    .executableTarget(name: "dustin", dependencies: ["DustinDriver", "DustinRunner"]),
    .testTarget(name: "DustinSupportTests", dependencies: ["DustinSupport"]),
    .testTarget(name: "DustinTextTests", dependencies: ["DustinText"], exclude: ["Golden"]),
    .testTarget(name: "DustinIRTests", dependencies: ["DustinIR", "DustinTesting"]),
    .testTarget(name: "DustinPassesTests", dependencies: ["DustinDriver", "DustinInterpreter", "DustinTesting"]),
    .testTarget(name: "DustinInterpreterTests", dependencies: ["DustinInterpreter", "DustinPasses", "DustinModels"]),
    .testTarget(name: "DustinModelsTests", dependencies: ["DustinModels", "DustinInterpreter"]),
    .testTarget(
      name: "DustinCodegenTests",
      dependencies: ["DustinCodegen", "DustinInterpreter", "DustinModels", "DustinPasses", "DustinRuntime"]),
    .testTarget(name: "DustinRuntimeTests", dependencies: ["DustinRuntime"]),
    .testTarget(name: "DustinDriverTests", dependencies: ["DustinDriver", "DustinRunner", "DustinTesting"]),
  ]
)
