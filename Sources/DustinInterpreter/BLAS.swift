import COpenBLAS
import Dispatch

#if canImport(Glibc)
  import Glibc
#endif

/// OpenBLAS runs in the calling thread; the interpreter splits the work itself, so that a step has one set of threads.
private let singleThreaded: Void = openblas_set_num_threads(1)

/// Cores that share the work of an op.
let coreCount = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))

/// Calls `body` once for every index below `count`, on all cores, in no order.
func parallelFor(_ count: Int, _ body: (Int) -> Void) {
  if count > 1, coreCount > 1 {
    // The call returns when every index is done, and bodies write to places of their own.
    withoutActuallyEscaping(body) { body in
      nonisolated(unsafe) let body = body
      DispatchQueue.concurrentPerform(iterations: count) { body($0) }
    }
  } else {
    for index in 0..<max(0, count) { body(index) }
  }
}

/// Splits 0 ..< `count` into at most a few ranges per core, of at least `grain` indices, and runs them on all cores.
func parallelRanges(_ count: Int, grain: Int, _ body: (Range<Int>) -> Void) {
  guard count > 0 else { return }
  let parts = max(1, min(coreCount * 4, count / max(1, grain)))
  parallelFor(parts) { part in body(count * part / parts..<count * (part + 1) / parts) }
}

/// c[m, n] = alpha * a[m, k] · b, with b [n, k] when `transposed` and [k, n] otherwise; row-major, rows `ld…` apart.
///
/// The pointers must cover those rows. All extents are below 2^31: `Tensor` and `KVCacheTensor` refuse larger ones.
func sgemm(
  _ m: Int, _ n: Int, _ k: Int, alpha: Float = 1, _ a: UnsafePointer<Float>, _ lda: Int, _ b: UnsafePointer<Float>,
  _ ldb: Int, transposed: Bool, _ c: UnsafeMutablePointer<Float>, _ ldc: Int
) {
  guard m > 0, n > 0 else { return }
  singleThreaded
  cblas_sgemm(
    Int32(COpenBLASRowMajor), Int32(COpenBLASNoTrans),
    Int32(transposed ? COpenBLASTrans : COpenBLASNoTrans), Int32(m), Int32(n), Int32(k), alpha, a,
    Int32(max(1, lda)), b, Int32(max(1, ldb)), 0, c, Int32(max(1, ldc)))
}

/// x[rows, k] times the transpose of w[n, k], into columns of c; split over the cores by the longer side.
func matmul(
  _ x: UnsafePointer<Float>, rows: Int, k: Int, _ w: UnsafePointer<Float>, n: Int, _ c: UnsafeMutablePointer<Float>,
  ldc: Int
) {
  if rows >= 64 {
    parallelRanges(rows, grain: 32) { range in
      sgemm(
        range.count, n, k, x + range.lowerBound * k, k, w, k, transposed: true, c + range.lowerBound * ldc, ldc)
    }
  } else {
    parallelRanges(n, grain: 128) { range in
      sgemm(rows, range.count, k, x, k, w + range.lowerBound * k, k, transposed: true, c + range.lowerBound, ldc)
    }
  }
}
