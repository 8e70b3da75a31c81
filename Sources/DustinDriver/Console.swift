import DustinRunner

/// Where a command reads and writes; what tests and other tools run commands in.
public typealias Console = DustinRunner.Console
