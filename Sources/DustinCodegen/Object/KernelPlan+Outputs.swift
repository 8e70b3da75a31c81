import CLLVM
import DustinSupport

// A plan as machine code, in every form: all of it is the same code after the same optimisation. Several threads may ask
// at the same time.

extension KernelPlan {
  /// The symbol of a plan's `dustin_entry`.
  public static let entrySymbol = "dustin_entry"

  /// Code that can be mapped anywhere and run.
  public func codeImage() throws -> CodeImage {
    try CodeImage(linking: objectFile(), entry: Self.entrySymbol)
  }

  /// A relocatable ELF object with one global symbol, a `dustin_entry`; it needs no other.
  ///
  /// - Parameter entry: The symbol's name, for a program that links the objects of several plans.
  public func objectFile(entry: String = entrySymbol) throws -> [UInt8] {
    try withOptimisedModule(entry) { try Self.emit($0, $1, LLVMObjectFile) }
  }

  /// The assembler text of the object file.
  public func assembly() throws -> String {
    try withOptimisedModule(Self.entrySymbol) {
      String(decoding: try Self.emit($0, $1, LLVMAssemblyFile), as: UTF8.self)
    }
  }

  /// LLVM's text of the code that instructions are selected for.
  public func llvmText() throws -> String {
    try withOptimisedModule(Self.entrySymbol) { module, _ in
      LLVMSetup.text(LLVMPrintModuleToString(module)) ?? ""
    }
  }

  private func withOptimisedModule<Result>(
    _ entry: String, _ body: (LLVMModuleRef, LLVMTargetMachineRef) throws -> Result
  ) throws -> Result {
    let machine = try LLVMSetup.machine(for: target)
    defer { LLVMDisposeTargetMachine(machine) }
    guard let context = LLVMContextCreate() else { throw llvmError("no context") }
    defer { LLVMContextDispose(context) }
    // A function of its own: the emitter must go before the context does.
    func run() throws -> Result {
      let emitter = try emitModule(in: context, entry: entry)
      return try withExtendedLifetime(emitter) {
        LLVMSetTarget(emitter.module, LLVMSetup.triple)
        let layout = LLVMCreateTargetDataLayout(machine)
        defer { LLVMDisposeTargetData(layout) }
        LLVMSetModuleDataLayout(emitter.module, layout)
        try LLVMSetup.optimise(emitter.module, machine)
        return try body(emitter.module, machine)
      }
    }
    return try run()
  }

  private static func emit(
    _ module: LLVMModuleRef, _ machine: LLVMTargetMachineRef, _ type: LLVMCodeGenFileType
  ) throws -> [UInt8] {
    var message: UnsafeMutablePointer<CChar>?
    var buffer: LLVMMemoryBufferRef?
    guard LLVMTargetMachineEmitToMemoryBuffer(machine, module, type, &message, &buffer) == 0, let buffer else {
      throw llvmError(LLVMSetup.text(message) ?? "no code came out")
    }
    defer { LLVMDisposeMemoryBuffer(buffer) }
    return Array(UnsafeRawBufferPointer(start: LLVMGetBufferStart(buffer), count: LLVMGetBufferSize(buffer)))
  }
}
