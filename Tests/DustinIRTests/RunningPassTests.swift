import DustinIR
import Foundation
import Synchronization
import XCTest

final class RunningPassTests: XCTestCase {
  func testNamesNest() {
    XCTAssertNil(RunningPass.name)
    RunningPass.noting("outer") {
      RunningPass.noting("inner") { XCTAssertEqual(RunningPass.name.map { String(cString: $0) }, "inner") }
      XCTAssertEqual(RunningPass.name.map { String(cString: $0) }, "outer")
    }
    XCTAssertNil(RunningPass.name)
  }

  /// A handler has a stack on each thread that runs passes, not on the first one alone.
  func testEachThreadHasAStackForSignals() {
    @Sendable func stackBytes() -> Int {
      var stack = stack_t()
      sigaltstack(nil, &stack)
      return Int(stack.ss_flags) & Int(SS_DISABLE) == 0 ? stack.ss_size : 0
    }
    let sizes = Mutex<[Int]>([])
    func run() {
      let done = DispatchSemaphore(value: 0)
      Thread {
        let before = stackBytes()
        let inside = RunningPass.noting("one") { stackBytes() }
        sizes.withLock { $0 += [before, inside] }
        done.signal()
      }.start()
      done.wait()
    }
    RunningPass.isWatched.store(true, ordering: .releasing)
    defer { RunningPass.isWatched.store(false, ordering: .releasing) }
    run()
    run()
    XCTAssertEqual(sizes.withLock { $0 }, [0, 1 << 16, 0, 1 << 16])
  }
}
