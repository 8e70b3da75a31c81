import CLLVM

extension NativeCode {
  /// The LLVM that the package was built for: `14.0.6`.
  public static let llvmVersion = LLVM_VERSION_STRING
}
