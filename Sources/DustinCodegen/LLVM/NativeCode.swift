import CDustin
import CLLVM
import DustinSupport

/// Machine code of a plan, made in this process; lives as long as the object.
public final class NativeCode: @unchecked Sendable {
  // Written once in init, released in deinit; the code itself is read-only memory.
  private let jit: LLVMOrcLLJITRef
  public let entry: dustin_entry

  /// Emits, optimises and loads the code of a plan.
  public init(_ plan: KernelPlan) throws {
    LLVMSetup.once
    let threadSafe = LLVMOrcCreateNewThreadSafeContext()
    defer { LLVMOrcDisposeThreadSafeContext(threadSafe) }
    guard let context = LLVMOrcThreadSafeContextGetContext(threadSafe) else { throw llvmError("no LLVM context") }
    let emitter = try plan.emitModule(in: context)
    let machine = try LLVMSetup.machine(for: plan.target)
    defer { LLVMDisposeTargetMachine(machine) }
    try LLVMSetup.optimise(emitter.module, machine)

    let codeMachine = try LLVMSetup.machine(for: plan.target)
    let builder = LLVMOrcCreateLLJITBuilder()  // consumed by LLVMOrcCreateLLJIT, as is the machine
    let jitMachine = LLVMOrcJITTargetMachineBuilderCreateFromTargetMachine(codeMachine)
    LLVMOrcLLJITBuilderSetJITTargetMachineBuilder(builder, jitMachine)
    var jit: LLVMOrcLLJITRef?
    try LLVMSetup.check(LLVMOrcCreateLLJIT(&jit, builder))
    guard let jit else { throw llvmError("no JIT") }
    let module = LLVMOrcCreateNewThreadSafeModule(emitter.module, threadSafe)
    do {
      try LLVMSetup.check(LLVMOrcLLJITAddLLVMIRModule(jit, LLVMOrcLLJITGetMainJITDylib(jit), module))
      var address: LLVMOrcExecutorAddress = 0
      try LLVMSetup.check(LLVMOrcLLJITLookup(jit, &address, "dustin_entry"))
      guard let pointer = UnsafeRawPointer(bitPattern: UInt(address)) else { throw llvmError("no entry") }
      entry = unsafeBitCast(pointer, to: dustin_entry.self)
    } catch {
      LLVMConsumeError(LLVMOrcDisposeLLJIT(jit))
      throw error
    }
    self.jit = jit
  }

  deinit { LLVMConsumeError(LLVMOrcDisposeLLJIT(jit)) }
}

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

  /// A property, so that the compiler does not take one of the versions for dead code.
  private static var major: Int32 { LLVM_VERSION_MAJOR }

  static func check(_ error: LLVMErrorRef?) throws {
    guard let error else { return }
    let message = LLVMGetErrorMessage(error)
    defer { LLVMDisposeErrorMessage(message) }
    throw llvmError(message.map { String(cString: $0) } ?? "unknown error")
  }

  static func machine(for target: CPUTarget) throws -> LLVMTargetMachineRef {
    once
    let triple = LLVMGetDefaultTargetTriple()
    defer { LLVMDisposeMessage(triple) }
    var llvmTarget: LLVMTargetRef?
    var message: UnsafeMutablePointer<CChar>?
    guard LLVMGetTargetFromTriple(triple, &llvmTarget, &message) == 0, let llvmTarget else {
      defer { LLVMDisposeMessage(message) }
      throw llvmError(message.map { String(cString: $0) } ?? "no target for this machine")
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

extension KernelPlan {
  /// One LLVM module with a function per kernel and the entry that walks a call table.
  func emitModule(in context: LLVMContextRef) throws -> Emitter {
    let e = Emitter(context: context, name: "dustin", target: target)
    let parameters: [LLVMType] = [e.pointer, e.pointer, e.i64]
    let functions = kernels.map { kernel in
      e.define(kernel.name, parameters) { p in
        kernel.emit(KernelBuilder(e, step: p[0], arguments: p[1], thread: p[2]))
      }
    }
    let barrier = emitBarrier(e)
    e.define("dustin_entry", [e.pointer, e.i64], exported: true) { p in
      emitTableWalk(e, step: p[0], thread: p[1]) { number, arguments in
        let done = e.block("called")
        let missing = e.block("missing")
        let dispatch = LLVMBuildSwitch(e.builder, number, missing, UInt32(functions.count))
        for (index, function) in functions.enumerated() {
          let block = e.block("kernel")
          LLVMAddCase(dispatch, e.int(index), block)
          LLVMPositionBuilderAtEnd(e.builder, block)
          e.call(function, parameters, [p[0], arguments, p[1]])
          LLVMBuildBr(e.builder, done)
        }
        LLVMPositionBuilderAtEnd(e.builder, missing)
        LLVMBuildBr(e.builder, done)
        LLVMPositionBuilderAtEnd(e.builder, done)
      } meet: {
        e.call(barrier, [e.pointer], [p[0]])
      }
    }
    var message: UnsafeMutablePointer<CChar>?
    if LLVMVerifyModule(e.module, LLVMReturnStatusAction, &message) != 0 {
      defer { LLVMDisposeMessage(message) }
      throw llvmError("malformed code: \(message.map { String(cString: $0) } ?? "")")
    }
    return e
  }

  /// while p < end: kernel, barrier, n = p[0..2]; kernels[kernel](step, p + 3, thread); if barrier: meet; p += 3 + n
  private func emitTableWalk(
    _ e: Emitter, step: LLVMValue, thread: LLVMValue, _ call: (LLVMValue, LLVMValue) -> Void, meet: () -> Void
  ) {
    let table = e.loadPointer(step, KernelBuilder.offset(\.table))
    let count = e.loadInt(step, KernelBuilder.offset(\.table_count))
    let before = LLVMGetInsertBlock(e.builder)
    let (head, body, done) = (e.block("head"), e.block("call"), e.block("end"))
    LLVMBuildBr(e.builder, head)
    LLVMPositionBuilderAtEnd(e.builder, head)
    let index: LLVMValue = LLVMBuildPhi(e.builder, e.i64, "index")
    LLVMBuildCondBr(e.builder, e.compare(index, LLVMIntSLT, count), body, done)
    LLVMPositionBuilderAtEnd(e.builder, body)
    let p = e.at(table, e.mul(index, 8))
    let (flag, arguments) = (e.loadInt(p, 8), e.loadInt(p, 16))
    call(e.loadInt(p), e.at(p, 24))
    e.ifTrue(e.compare(flag, LLVMIntNE, e.int(0)), meet)
    let next = e.add(e.add(index, arguments), 3)
    var values: [LLVMValue?] = [e.int(0), next]
    var blocks: [LLVMBasicBlockRef?] = [before, LLVMGetInsertBlock(e.builder)]
    LLVMAddIncoming(index, &values, &blocks, 2)
    LLVMBuildBr(e.builder, head)
    LLVMPositionBuilderAtEnd(e.builder, done)
  }

  /// The last thread to arrive opens the next phase; the others spin, and now and then give the core away.
  private func emitBarrier(_ e: Emitter) -> LLVMValue {
    e.define("dustin_barrier", [e.pointer]) { p in
      let step = p[0]
      let threads = e.loadInt32(step, KernelBuilder.offset(\.threads))
      e.ifTrue(e.compare(threads, LLVMIntSGT, e.int(1))) {
        let arrived = e.at(step, KernelBuilder.offset(\.arrived))
        let phase = e.at(step, KernelBuilder.offset(\.phase))
        func typed(_ p: LLVMValue) -> LLVMValue { LLVMBuildBitCast(e.builder, p, LLVMPointerType(e.i64, 0), "") }
        func atomicLoad(_ p: LLVMValue) -> LLVMValue {
          let value = e.load(e.i64, p, align: 8)
          LLVMSetOrdering(value, LLVMAtomicOrderingAcquire)
          return value
        }
        func atomicStore(_ value: LLVMValue, _ p: LLVMValue) {
          let store: LLVMValue = LLVMBuildStore(e.builder, value, typed(p))
          LLVMSetAlignment(store, 8)
          LLVMSetOrdering(store, LLVMAtomicOrderingRelease)
        }
        let current = atomicLoad(phase)
        let before: LLVMValue = LLVMBuildAtomicRMW(
          e.builder, LLVMAtomicRMWBinOpAdd, typed(arrived), e.int(1), LLVMAtomicOrderingAcquireRelease, 0)
        e.ifTrue(e.compare(e.add(before, 1), LLVMIntEQ, threads)) {
          atomicStore(e.int(0), arrived)
          atomicStore(e.add(current, 1), phase)
        } else: {
          let (spin, out) = (e.block("spin"), e.block("open"))
          let entry = LLVMGetInsertBlock(e.builder)
          LLVMBuildBr(e.builder, spin)
          LLVMPositionBuilderAtEnd(e.builder, spin)
          let spins: LLVMValue = LLVMBuildPhi(e.builder, e.i64, "spins")
          e.intrinsic("llvm.x86.sse2.pause", [])
          let next = e.add(spins, 1)
          e.ifTrue(e.compare(e.and(next, 0x7ff), LLVMIntEQ, e.int(0))) {
            let wait = e.loadPointer(step, KernelBuilder.offset(\.wait))
            let type = LLVMPointerType(e.functionType([]), 0)
            e.call(LLVMBuildBitCast(e.builder, wait, type, ""), [], [])
          }
          var values: [LLVMValue?] = [e.int(0), next]
          var blocks: [LLVMBasicBlockRef?] = [entry, LLVMGetInsertBlock(e.builder)]
          LLVMAddIncoming(spins, &values, &blocks, 2)
          LLVMBuildCondBr(e.builder, e.compare(atomicLoad(phase), LLVMIntEQ, current), spin, out)
          LLVMPositionBuilderAtEnd(e.builder, out)
        }
      }
    }
  }
}
