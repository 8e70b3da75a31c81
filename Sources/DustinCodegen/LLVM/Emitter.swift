import CLLVM

typealias LLVMValue = LLVMValueRef
typealias LLVMType = LLVMTypeRef

/// Builds one LLVM module through the C API that LLVM 14 … 19 share: every pointer is a byte pointer that is cast
/// before a load or store, and only the `…2` builders are used.
final class Emitter {
  let context: LLVMContextRef
  let module: LLVMModuleRef
  let builder: LLVMBuilderRef
  let target: CPUTarget
  let i1, i8, i16, i32, i64, f32, f64, void, pointer: LLVMType
  /// The function under construction.
  private(set) var function: LLVMValue!

  init(context: LLVMContextRef, name: String, target: CPUTarget) {
    self.context = context
    self.target = target
    module = LLVMModuleCreateWithNameInContext(name, context)
    builder = LLVMCreateBuilderInContext(context)
    i1 = LLVMInt1TypeInContext(context)
    i8 = LLVMInt8TypeInContext(context)
    i16 = LLVMInt16TypeInContext(context)
    i32 = LLVMInt32TypeInContext(context)
    i64 = LLVMInt64TypeInContext(context)
    f32 = LLVMFloatTypeInContext(context)
    f64 = LLVMDoubleTypeInContext(context)
    void = LLVMVoidTypeInContext(context)
    pointer = LLVMPointerType(i8, 0)
  }
  deinit {
    LLVMDisposeBuilder(builder)
    LLVMDisposeModule(module)
  }

  // MARK: types and constants

  /// `lanes` = 1 is the scalar itself, so that one body serves a vector loop and its tail.
  func vector(_ type: LLVMType, _ lanes: Int) -> LLVMType { lanes == 1 ? type : LLVMVectorType(type, UInt32(lanes)) }
  func int(_ value: Int) -> LLVMValue { LLVMConstInt(i64, UInt64(bitPattern: Int64(value)), 1) }
  func int32(_ value: Int) -> LLVMValue { LLVMConstInt(i32, UInt64(bitPattern: Int64(value)), 1) }
  func float(_ value: Float) -> LLVMValue { LLVMConstReal(f32, Double(value)) }
  func constant(_ value: Double, like v: LLVMValue) -> LLVMValue { splatConstant(value, LLVMTypeOf(v)) }
  func splatConstant(_ value: Double, _ type: LLVMType) -> LLVMValue {
    guard LLVMGetTypeKind(type) == LLVMVectorTypeKind else { return LLVMConstReal(type, value) }
    let element = LLVMConstReal(LLVMGetElementType(type), value)
    var elements = [LLVMValue?](repeating: element, count: Int(LLVMGetVectorSize(type)))
    return LLVMConstVector(&elements, UInt32(elements.count))
  }
  func splatConstant(int value: Int, _ type: LLVMType) -> LLVMValue {
    let bits = UInt64(bitPattern: Int64(value))
    guard LLVMGetTypeKind(type) == LLVMVectorTypeKind else { return LLVMConstInt(type, bits, 1) }
    let element = LLVMConstInt(LLVMGetElementType(type), bits, 1)
    var elements = [LLVMValue?](repeating: element, count: Int(LLVMGetVectorSize(type)))
    return LLVMConstVector(&elements, UInt32(elements.count))
  }
  /// <0, 1, …, lanes-1>
  func iota(_ lanes: Int) -> LLVMValue {
    var elements: [LLVMValue?] = (0..<lanes).map { int32($0) }
    return LLVMConstVector(&elements, UInt32(lanes))
  }

  // MARK: arithmetic; no flag ever allows the compiler to reorder or contract floats

  func add(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildAdd(builder, a, b, "") }
  func add(_ a: LLVMValue, _ b: Int) -> LLVMValue { add(a, splatConstant(int: b, LLVMTypeOf(a))) }
  func sub(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildSub(builder, a, b, "") }
  func mul(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildMul(builder, a, b, "") }
  func mul(_ a: LLVMValue, _ b: Int) -> LLVMValue { mul(a, splatConstant(int: b, LLVMTypeOf(a))) }
  /// Unsigned; all our quantities are counts.
  func div(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildUDiv(builder, a, b, "") }
  func div(_ a: LLVMValue, _ b: Int) -> LLVMValue { div(a, splatConstant(int: b, LLVMTypeOf(a))) }
  func rem(_ a: LLVMValue, _ b: Int) -> LLVMValue {
    LLVMBuildURem(builder, a, splatConstant(int: b, LLVMTypeOf(a)), "")
  }
  func and(_ a: LLVMValue, _ b: Int) -> LLVMValue { LLVMBuildAnd(builder, a, splatConstant(int: b, LLVMTypeOf(a)), "") }
  func shl(_ a: LLVMValue, _ b: Int) -> LLVMValue { LLVMBuildShl(builder, a, splatConstant(int: b, LLVMTypeOf(a)), "") }
  func lshr(_ a: LLVMValue, _ b: Int) -> LLVMValue {
    LLVMBuildLShr(builder, a, splatConstant(int: b, LLVMTypeOf(a)), "")
  }
  func extend(_ a: LLVMValue) -> LLVMValue { LLVMBuildSExt(builder, a, i64, "") }
  func truncate(_ a: LLVMValue) -> LLVMValue { LLVMBuildTrunc(builder, a, i32, "") }
  func compare(_ a: LLVMValue, _ p: LLVMIntPredicate, _ b: LLVMValue) -> LLVMValue {
    LLVMBuildICmp(builder, p, a, b, "")
  }
  func select(_ c: LLVMValue, _ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildSelect(builder, c, a, b, "") }
  func minimum(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { select(compare(a, LLVMIntSLT, b), a, b) }
  func maximum(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { select(compare(a, LLVMIntSGT, b), a, b) }
  func fadd(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildFAdd(builder, a, b, "") }
  func fsub(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildFSub(builder, a, b, "") }
  func fmul(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildFMul(builder, a, b, "") }
  func fdiv(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildFDiv(builder, a, b, "") }
  /// a * b + c, rounded once; twice on a target without such an instruction.
  func fma(_ a: LLVMValue, _ b: LLVMValue, _ c: LLVMValue) -> LLVMValue {
    target.hasFMA ? intrinsic("llvm.fma", [a, b, c], overload: [LLVMTypeOf(a)]) : fadd(fmul(a, b), c)
  }
  /// a > b ? a : b; no NaNs come here.
  func fmax(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue {
    select(LLVMBuildFCmp(builder, LLVMRealOGT, a, b, ""), a, b)
  }
  func sqrt(_ a: LLVMValue) -> LLVMValue { intrinsic("llvm.sqrt", [a], overload: [LLVMTypeOf(a)]) }
  func bitcast(_ a: LLVMValue, _ type: LLVMType) -> LLVMValue {
    LLVMTypeOf(a) == type ? a : LLVMBuildBitCast(builder, a, type, "")
  }
  func splat(_ v: LLVMValue, _ lanes: Int) -> LLVMValue {
    if lanes == 1 { return v }
    let type = vector(LLVMTypeOf(v), lanes)
    let inserted = LLVMBuildInsertElement(builder, LLVMGetUndef(type), v, int32(0), "")
    return LLVMBuildShuffleVector(builder, inserted, LLVMGetUndef(type), LLVMConstNull(vector(i32, lanes)), "")
  }
  func shuffle(_ a: LLVMValue, _ b: LLVMValue, _ lanes: [Int]) -> LLVMValue {
    var mask: [LLVMValue?] = lanes.map { int32($0) }
    return LLVMBuildShuffleVector(builder, a, b, LLVMConstVector(&mask, UInt32(mask.count)), "")
  }
  /// Folds the lanes by halves: (0,8) (1,9) …, then quarters; the order is part of the numerics.
  func reduce(_ v: LLVMValue, _ combine: (LLVMValue, LLVMValue) -> LLVMValue) -> LLVMValue {
    var value = v
    var lanes = Int(LLVMGetVectorSize(LLVMTypeOf(v)))
    while lanes > 1 {
      let half = lanes / 2
      value = combine(shuffle(value, value, Array(0..<half)), shuffle(value, value, Array(half..<lanes)))
      lanes = half
    }
    return LLVMBuildExtractElement(builder, value, int32(0), "")
  }

  // MARK: memory

  /// Address `offset` bytes behind `base`.
  func at(_ base: LLVMValue, _ offset: LLVMValue) -> LLVMValue {
    var index: LLVMValue? = offset
    return LLVMBuildInBoundsGEP2(builder, i8, base, &index, 1, "")
  }
  func at(_ base: LLVMValue, _ offset: Int) -> LLVMValue { offset == 0 ? base : at(base, int(offset)) }
  private func typed(_ p: LLVMValue, _ type: LLVMType) -> LLVMValue {
    LLVMBuildBitCast(builder, p, LLVMPointerType(type, 0), "")
  }
  /// Loads and stores assume no more than the alignment of one element.
  func load(_ type: LLVMType, _ p: LLVMValue, align: Int = 4) -> LLVMValue {
    let value = LLVMBuildLoad2(builder, type, typed(p, type), "")!
    LLVMSetAlignment(value, UInt32(align))
    return value
  }
  func store(_ value: LLVMValue, _ p: LLVMValue, align: Int = 4) {
    LLVMSetAlignment(LLVMBuildStore(builder, value, typed(p, LLVMTypeOf(value))), UInt32(align))
  }
  /// Asks for a cache line that is read soon: into every cache, or past the first one, which has no room for it yet.
  func prefetch(_ p: LLVMValue, pastFirst: Bool = false) {
    intrinsic("llvm.prefetch", [p, int32(0), int32(pastFirst ? 2 : 3), int32(1)], overload: [pointer])
  }
  func loadInt(_ p: LLVMValue, _ offset: Int = 0) -> LLVMValue { load(i64, at(p, offset), align: 8) }
  func loadInt32(_ p: LLVMValue, _ offset: Int = 0) -> LLVMValue { extend(load(i32, at(p, offset))) }
  func loadPointer(_ p: LLVMValue, _ offset: Int = 0) -> LLVMValue { load(pointer, at(p, offset), align: 8) }

  /// Calls an intrinsic by name; operands are cast to what this LLVM's declaration wants.
  @discardableResult
  func intrinsic(_ name: String, _ arguments: [LLVMValue], overload: [LLVMType] = []) -> LLVMValue {
    let id = LLVMLookupIntrinsicID(name, name.utf8.count)
    precondition(id != 0, "LLVM has no intrinsic \(name)")
    var types: [LLVMType?] = overload
    let callee = LLVMGetIntrinsicDeclaration(module, id, &types, types.count)
    let type: LLVMType = LLVMIntrinsicGetType(context, id, &types, types.count)
    var parameters = [LLVMType?](repeating: nil, count: Int(LLVMCountParamTypes(type)))
    LLVMGetParamTypes(type, &parameters)
    var operands: [LLVMValue?] = zip(arguments, parameters).map { value, wanted in
      LLVMTypeOf(value) == wanted ? value : LLVMBuildBitCast(builder, value, wanted, "")
    }
    return LLVMBuildCall2(builder, type, callee, &operands, UInt32(operands.count), "")
  }

  // MARK: functions and control flow

  /// Emits `void name(parameters)`; `body` gets the parameters.
  @discardableResult
  func define(_ name: String, _ parameters: [LLVMType], exported: Bool = false, _ body: ([LLVMValue]) -> Void)
    -> LLVMValue
  {
    let outer = (function, LLVMGetInsertBlock(builder))
    let callee: LLVMValue = LLVMAddFunction(module, name, functionType(parameters))
    if !exported { LLVMSetLinkage(callee, LLVMInternalLinkage) }
    var attributes = [("target-features", target.features), ("target-cpu", target.llvmCPU)]
    if target.hasAVX512 { attributes += [("prefer-vector-width", "512"), ("min-legal-vector-width", "512")] }
    for (key, value) in attributes {
      let attribute = LLVMCreateStringAttribute(context, key, UInt32(key.utf8.count), value, UInt32(value.utf8.count))
      LLVMAddAttributeAtIndex(callee, UInt32(bitPattern: -1), attribute)
    }
    for key in ["nounwind", "noinline"] {
      let kind = LLVMGetEnumAttributeKindForName(key, key.utf8.count)
      LLVMAddAttributeAtIndex(callee, UInt32(bitPattern: -1), LLVMCreateEnumAttribute(context, kind, 0))
    }
    function = callee
    LLVMPositionBuilderAtEnd(builder, block("entry"))
    body((0..<parameters.count).map { LLVMGetParam(callee, UInt32($0)) })
    LLVMBuildRetVoid(builder)
    function = outer.0
    if let block = outer.1 { LLVMPositionBuilderAtEnd(builder, block) }
    return callee
  }
  func functionType(_ parameters: [LLVMType]) -> LLVMType {
    var types: [LLVMType?] = parameters
    return LLVMFunctionType(void, &types, UInt32(types.count), 0)
  }
  func call(_ callee: LLVMValue, _ parameters: [LLVMType], _ arguments: [LLVMValue]) {
    var operands: [LLVMValue?] = arguments
    LLVMBuildCall2(builder, functionType(parameters), callee, &operands, UInt32(operands.count), "")
  }
  func block(_ name: String) -> LLVMBasicBlockRef { LLVMAppendBasicBlockInContext(context, function, name) }

  /// `for i in stride(from: low, to: high, by: step)` with loop-carried values; returns their last state.
  /// `atLeastOnce` promises low < high and saves the first test.
  @discardableResult
  func loop(
    _ low: LLVMValue, _ high: LLVMValue, _ step: LLVMValue? = nil, carried: [LLVMValue] = [],
    atLeastOnce: Bool = false, _ body: (_ i: LLVMValue, _ carried: [LLVMValue]) -> [LLVMValue]
  ) -> [LLVMValue] {
    let step = step ?? int(1)
    let before = LLVMGetInsertBlock(builder)
    let head = block("loop")
    let exit = block("done")
    if atLeastOnce {
      LLVMBuildBr(builder, head)
    } else {
      LLVMBuildCondBr(builder, compare(low, LLVMIntSLT, high), head, exit)
    }
    LLVMPositionBuilderAtEnd(builder, head)
    let i: LLVMValue = LLVMBuildPhi(builder, LLVMTypeOf(low), "i")
    let phis: [LLVMValue] = carried.map { LLVMBuildPhi(builder, LLVMTypeOf($0), "") }
    let outs = body(i, phis)
    let next = add(i, step)
    let end = LLVMGetInsertBlock(builder)
    disableUnrolling(LLVMBuildCondBr(builder, compare(next, LLVMIntSLT, high), head, exit))
    func incoming(_ phi: LLVMValue, _ pairs: [(LLVMValue, LLVMBasicBlockRef?)]) {
      var values: [LLVMValue?] = pairs.map(\.0)
      var blocks = pairs.map(\.1)
      LLVMAddIncoming(phi, &values, &blocks, UInt32(values.count))
    }
    incoming(i, [(low, before), (next, end)])
    for (k, phi) in phis.enumerated() { incoming(phi, [(carried[k], before), (outs[k], end)]) }
    LLVMPositionBuilderAtEnd(builder, exit)
    if atLeastOnce { return outs }
    return carried.indices.map { k in
      let phi: LLVMValue = LLVMBuildPhi(builder, LLVMTypeOf(carried[k]), "")
      incoming(phi, [(carried[k], before), (outs[k], end)])
      return phi
    }
  }
  /// A loop that carries nothing.
  func each(_ low: LLVMValue, _ high: LLVMValue, _ step: LLVMValue? = nil, _ body: (LLVMValue) -> Void) {
    loop(low, high, step) { i, _ in
      body(i)
      return []
    }
  }
  func ifTrue(_ condition: LLVMValue, _ body: () -> Void, else other: (() -> Void)? = nil) {
    let yes = block("then")
    let no = other == nil ? nil : block("else")
    let after = block("after")
    LLVMBuildCondBr(builder, condition, yes, no ?? after)
    LLVMPositionBuilderAtEnd(builder, yes)
    body()
    LLVMBuildBr(builder, after)
    if let no, let other {
      LLVMPositionBuilderAtEnd(builder, no)
      other()
      LLVMBuildBr(builder, after)
    }
    LLVMPositionBuilderAtEnd(builder, after)
  }

  /// LLVM 19 would unroll register-tiled loops until they spill.
  private func disableUnrolling(_ branch: LLVMValue) {
    let name = "llvm.loop.unroll.disable"
    var text: LLVMMetadataRef? = LLVMMDStringInContext2(context, name, name.utf8.count)
    let disable = LLVMMDNodeInContext2(context, &text, 1)
    let placeholder = LLVMTemporaryMDNode(context, nil, 0)
    var operands: [LLVMMetadataRef?] = [placeholder, disable]
    let node = LLVMMDNodeInContext2(context, &operands, 2)
    LLVMMetadataReplaceAllUsesWith(placeholder, node)
    let kind = LLVMGetMDKindIDInContext(context, "llvm.loop", 9)
    LLVMSetMetadata(branch, kind, LLVMMetadataAsValue(context, node))
  }
}
