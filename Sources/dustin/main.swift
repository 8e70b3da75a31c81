import DustinDriver
import DustinRunner

Dustin.main()
