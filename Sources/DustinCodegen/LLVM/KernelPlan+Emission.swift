import CDustin
import CLLVM
import DustinSupport

extension KernelPlan {
  /// One LLVM module with a function per kernel and the entry that walks a call table.
  func emitModule(in context: LLVMContextRef, entry: String) throws -> Emitter {
    let e = Emitter(context: context, name: "dustin", target: target)
    let parameters: [LLVMType] = [e.pointer, e.pointer, e.i64]
    let functions = kernels.map { kernel in
      e.define(kernel.name, parameters) { p in
        kernel.emit(KernelBuilder(e, step: p[0], arguments: p[1], thread: p[2]))
      }
    }
    let barrier = emitBarrier(e)
    e.define(entry, [e.pointer, e.i64], exported: true) { p in
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
      throw llvmError("malformed code: \(LLVMSetup.text(message) ?? "")")
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
