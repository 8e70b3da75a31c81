import DustinDriver
import DustinRuntime
import DustinSupport
import Foundation

/// Continues a text with a pair of models and a preset: `continue-a-book TARGET DRAFT FILE`.
func run(_ arguments: [String]) throws {
  guard arguments.count == 3 else { throw DiagnosticError("usage", "continue-a-book TARGET DRAFT FILE") }
  let text = String(decoding: try readFile(arguments[2]), as: UTF8.self)

  // Reads both model directories, runs the passes and compiles them for this machine.
  var load = LoadOptions(target: try .host())
  load.preset = "dustin{budget=256 look=1:1}"
  let pair = try ModelPair.load(target: arguments[0], draft: arguments[1], options: load)
  guard let tokenizer = pair.tokenizer, let draft = pair.draft else {
    throw DiagnosticError("tokenizer", "'\(arguments[0])' has no tokenizer that is known")
  }

  var options = GenerationOptions()
  options.gamma = 4
  options.tokenBytes = { tokenizer.bytes(of: $0) ?? [] }
  let team = try ThreadTeam(threads: ProcessInfo.processInfo.activeProcessorCount)
  let drafter = try ModelDrafter(
    engine: Engine(model: draft.compiled, team: team), contextSize: draft.contextSize)
  let loop = try SpeculativeLoop(
    target: Engine(model: pair.target.compiled, team: team), drafter: drafter, options: options)

  // Text comes round by round: what was accepted, and the target's own token behind it.
  loop.onEvent = { event in
    FileHandle.standardOutput.write(Data(event.text))
  }
  let prompt = Array(tokenizer.encode(text).prefix(1000))
  let results = try loop.run([GenerationRequest(prompt: prompt, maxNewTokens: 32)])

  let metrics = loop.metrics
  print("\n\ntokens \(results[0].tokens)")
  print("rounds \(metrics.speculation.rounds), tokens a round \(metrics.speculation.meanAcceptedLength)")
  print("accepted \(metrics.speculation.accepted) of \(metrics.speculation.drafted) drafted")
  print("KV bytes read \(metrics.targetTraffic.bytesRead) of \(metrics.targetTraffic.denseBytes) dense")
}

do {
  try run(Array(CommandLine.arguments.dropFirst()))
} catch {
  FileHandle.standardError.write(Data("\(error)\n".utf8))
  exit(1)
}
