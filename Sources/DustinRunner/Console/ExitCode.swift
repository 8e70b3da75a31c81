import DustinSupport

/// Tells standard error what ended a program, and gives its exit code: 1 after an error, 64 for arguments that it does not
/// understand, 130 after Ctrl-C, 141 without a word when the reader of standard output went away.
///
/// - Returns: Nil, and no word, for an error that is not of the kinds that dustin throws.
package func exitCode(after error: any Error, _ console: Console) -> Int32? {
  switch error {
  case let error as DiagnosticError:
    console.writeError(error.description + "\n")
    return 1
  case let error as UsageError:
    console.writeError("error: \(error.message)\n       --help lists the options\n")
    return 64
  case is Interrupted:
    console.writeError("interrupted\n")
    return 130
  case is OutputClosed: return OutputClosed.exitCode
  default: return nil
  }
}
