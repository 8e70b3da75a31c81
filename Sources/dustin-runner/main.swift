import CRunner
import DustinRunner

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

var arguments: [String] = []
while let argument = dustin_argument(Int32(arguments.count + 1)) { arguments.append(String(cString: argument)) }
openMissingStandardFiles()
ignoreClosedPipes()
exit(runApplication(arguments))
