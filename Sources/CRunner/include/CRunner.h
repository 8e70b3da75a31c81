// What a program with Swift inside needs where there is no /proc.
#pragma once

// The program's arguments; null behind the last. Swift's own list of them comes from /proc.
const char *dustin_argument(int index);
