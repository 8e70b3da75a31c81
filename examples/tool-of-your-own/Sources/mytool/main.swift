import DustinDriver

Dustin.main(passes: [RecentShare.init, SteadyDustin.init])
