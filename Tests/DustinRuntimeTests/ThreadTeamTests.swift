import DustinSupport
import Synchronization
import XCTest

@testable import DustinRuntime

final class ThreadTeamTests: XCTestCase {
  func testEveryThreadRunsEveryPieceOnce() throws {
    for (threads, pieces) in [(1, 10_000), (2, 10_000), (3, 3_000), (5, 1_000)] {
      let team = try ThreadTeam(threads: threads)
      var counts = [Int](repeating: 0, count: threads * 16)
      counts.withUnsafeMutableBufferPointer { counts in
        for _ in 0..<pieces { team.run { thread in counts[thread * 16] += 1 } }
      }
      for thread in 0..<threads { XCTAssertEqual(counts[thread * 16], pieces, "thread \(thread) of \(threads)") }
    }
  }

  func testWorkIsOrderedBetweenPieces() throws {
    let team = try ThreadTeam(threads: 4)
    var values = [Int](repeating: 1, count: 4)
    values.withUnsafeMutableBufferPointer { values in
      var sums = [Int](repeating: 0, count: 4)
      sums.withUnsafeMutableBufferPointer { sums in
        for _ in 0..<2_000 {
          team.run { sums[$0] = values.reduce(0, &+) }
          team.run { values[$0] = sums[($0 + 1) % 4] % 1_000_003 &+ $0 }
        }
      }
    }
    var expected = [Int](repeating: 1, count: 4)
    for _ in 0..<2_000 {
      let sum = expected.reduce(0, &+)
      expected = (0..<4).map { sum % 1_000_003 &+ $0 }
    }
    XCTAssertEqual(values, expected)
  }

  func testSleepingWorkersAreWoken() throws {
    let team = try ThreadTeam(threads: 2)
    let runs = Atomic<Int>(0)
    for _ in 0..<20 {
      // Longer than workers spin, without a clock: they sleep by now, or it does not matter.
      var waste: UInt64 = 1
      for _ in 0..<20_000 { waste = mixed(waste, 1) }
      XCTAssertNotEqual(waste, 0)
      team.run { _ in runs.wrappingAdd(1, ordering: .relaxed) }
    }
    XCTAssertEqual(runs.load(ordering: .relaxed), 40)
  }

  func testTeamsComeAndGo() throws {
    let runs = Atomic<Int>(0)
    for round in 0..<200 {
      let team = try ThreadTeam(threads: 3)
      if round % 2 == 0 { team.run { _ in runs.wrappingAdd(1, ordering: .relaxed) } }
    }
    XCTAssertEqual(runs.load(ordering: .relaxed), 300)
  }

  func testTwoCallersTakeTurns() throws {
    let team = try ThreadTeam(threads: 2)
    let other = try ThreadTeam(threads: 3)
    let inside = Atomic<Int>(0)
    let runs = Atomic<Int>(0)
    let most = Atomic<Int>(0)
    other.run { _ in
      for _ in 0..<500 {
        team.run { _ in
          let now = inside.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
          most.max(now, ordering: .sequentiallyConsistent)
          runs.wrappingAdd(1, ordering: .relaxed)
          inside.wrappingSubtract(1, ordering: .sequentiallyConsistent)
        }
      }
    }
    XCTAssertEqual(runs.load(ordering: .relaxed), 3_000)
    XCTAssertLessThanOrEqual(most.load(ordering: .relaxed), 2)
  }

  func testCountIsChecked() {
    for count in [-1, 0, 1025] {
      XCTAssertThrowsError(try ThreadTeam(threads: count)) {
        XCTAssertEqual(($0 as? DiagnosticError)?.diagnostics.first?.id, "threads")
      }
    }
  }
}
