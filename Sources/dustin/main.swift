import DustinDriver
import DustinRunner

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

openMissingStandardFiles()
ignoreClosedPipes()
exit(runDustin(Array(CommandLine.arguments.dropFirst())))
