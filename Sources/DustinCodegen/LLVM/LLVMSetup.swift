import CLLVM
import DustinSupport

func llvmError(_ message: String) -> DiagnosticError { DiagnosticError("llvm", "LLVM: \(message)") }

/// The calls into LLVM that are not about building code.
enum LLVMSetup {
  /// Registers the native back end, once per process.
  static let once: Void = {
    LLVMInitializeX86TargetInfo()
    LLVMInitializeX86Target()
    LLVMInitializeX86TargetMC()
    LLVMInitializeX86AsmPrinter()
    LLVMInitializeX86AsmParser()
  }()

  /// The LLVM that the package was built for: `14.0.6`.
  static let version = LLVM_VERSION_STRING

  /// Whose objects are made: executables are, so far, for Linux.
  static let triple = "x86_64-unknown-linux-gnu"

  /// A property, so that the compiler does not take one of the versions for dead code.
  private static var major: Int32 { LLVM_VERSION_MAJOR }

  static func check(_ error: LLVMErrorRef?) throws {
    guard let error else { return }
    let message = LLVMGetErrorMessage(error)
    defer { LLVMDisposeErrorMessage(message) }
    throw llvmError(message.map { String(cString: $0) } ?? "unknown error")
  }

  /// The text of a message, which is given back to LLVM.
  static func text(_ message: UnsafeMutablePointer<CChar>?) -> String? {
    defer { LLVMDisposeMessage(message) }
    return message.map { String(cString: $0) }
  }

  static func machine(for target: CPUTarget) throws -> LLVMTargetMachineRef {
    once
    var llvmTarget: LLVMTargetRef?
    var message: UnsafeMutablePointer<CChar>?
    guard LLVMGetTargetFromTriple(triple, &llvmTarget, &message) == 0, let llvmTarget else {
      throw llvmError(text(message) ?? "no target for this machine")
    }
    guard
      let machine = LLVMCreateTargetMachine(
        llvmTarget, triple, target.llvmCPU, target.features, LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault
      )
    else { throw llvmError("no target machine for \(target)") }
    return machine
  }

  /// The kernels are tiled by hand; what is left to do is to fold addresses and hoist constants.
  static func optimise(_ module: LLVMModuleRef, _ machine: LLVMTargetMachineRef) throws {
    let options = LLVMCreatePassBuilderOptions()
    defer { LLVMDisposePassBuilderOptions(options) }
    LLVMPassBuilderOptionsSetLoopUnrolling(options, 0)
    LLVMPassBuilderOptionsSetLoopVectorization(options, 0)
    LLVMPassBuilderOptionsSetSLPVectorization(options, 0)
    // From 18 on, a lone instcombine aborts the process when one round leaves something to do.
    let combine = major >= 18 ? "instcombine<no-verify-fixpoint>" : "instcombine"
    try check(
      LLVMRunPasses(module, "function(early-cse,\(combine),simplifycfg,loop-mssa(licm),early-cse)", machine, options))
  }
}
