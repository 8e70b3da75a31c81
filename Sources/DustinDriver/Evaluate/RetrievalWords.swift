/// What the statements of retrieval prompts are made of. The models know these wordings and no others.
enum RetrievalWords {
  /// First names that the training used.
  static let seenFirst = words(
    """
    Adam Agnes Alfred Alice Amelia Anna Anthony Basil Beatrice Benjamin Bertha Bridget Caroline Cecil Charles Charlotte
    Clara Claude Constance Cora Cyril Daniel Daphne David Deborah Dennis Diana Edgar Edmund Edward Edwin Eleanor Eliza
    Ellen Ernest Esther Ethel Eugene Fanny Felix Flora Florence Francis Frederick Gerald Gilbert Giles Gregory Hannah
    Harriet Harry Helen Henry Howard Hugh Ida Isabel Janet Jerome Jonathan Joseph Joshua Judith Julia Julian Katherine
    Kenneth Leonard Leslie Lionel Louisa Lucas Lucy Lydia Mabel Magnus Marian Martha Martin Matilda Matthew Maurice
    Millicent Minnie Nathan Neville Nicholas Nora Norman Olga Oscar Oswald Pamela Patrick Paul Percy Quentin Rachel Ralph
    Raymond Reginald Richard Roderick Roger Roland Rosalind Rowena Rudolf Rupert Samuel Sarah Sebastian Silas Simon
    Stanley Stella Susan Sybil Theodore Theresa Thomas Timothy Tobias Ursula Valentine Veronica Victor Vincent Viola
    Violet Virginia Vivian Wallace Wilfred Xavier Yvonne Zachary
    """)
  /// First names that the training never used.
  static let unseenFirst = words(
    """
    Ambrose Barnaby Bartholomew Clementine Cordelia Cornelius Evangeline Ferdinand Henrietta Ignatius Leopold Marguerite
    Penelope Rosamund Thaddeus Wilhelmina
    """)
  static let last = words(
    """
    Abbott Archer Baker Barlow Barnes Bennett Bishop Blackwood Bradley Brewster Brooks Bryant Burton Butler Carter
    Chandler Clarke Coleman Collins Cooper Crawford Dalton Dawson Drake Duncan Elliott Ellis Everett Fields Fisher
    Fletcher Foster Gardner Gibson Gordon Graham Grant Greene Griffin Hale Hamilton Harper Harris Hawkins Hayes Holland
    Holmes Hunter Irving Jackson Jarvis Jenkins Jordan Keller Kendall Lambert Lane Langley Lawson Lincoln Mason Mercer
    Mitchell Monroe Morgan Morrison Nash Newton Norton Osborne Owens Palmer Parker Payne Pierce Porter Preston Quincy
    Ramsey Reed Reynolds Rhodes Rogers Russell Sanders Sawyer Shepherd Sherman Spencer Sterling Stewart Sutton Talbot
    Thornton Travers Turner Tyler Vance Walton Warner Watkins Webster Weston Wheeler Whitman Winslow Wright Yates Young
    """)
  /// `the silver castle`: one of these and a place.
  static let qualities = words(
    """
    amber ancient black blue bright broken burning copper crimson crooked dark distant eastern empty frozen gilded glass
    golden great green grey hidden hollow humble iron little lower marble narrow northern old painted quiet red royal
    silent silver sleeping southern stone sunken upper velvet western white wild winding wooden yellow
    """)
  static let places = words(
    """
    abbey attic bakery bridge cabin cavern cellar chapel cottage courtyard dungeon farm ferry forest fountain gallery
    garden gate harbour hospital island kitchen library lighthouse market meadow mill monastery museum observatory orchard
    palace parlour prison quarry school station temple theatre tower valley village vineyard warehouse
    """)
  /// A password is two of these.
  static let secrets = words(
    """
    acorn anchor apple arrow badger barrel basket blanket button candle carpet castle cherry copper cotton dagger diamond
    dragon drummer eagle ember engine falcon feather finger flute garlic ginger goblet guitar hammer hazel helmet honey
    insect ivory jacket jasmine jewel kettle kitten ladder lantern lemon lizard magnet maple marble medal mirror mustard
    napkin nectar needle nutmeg olive onion orange otter oyster parrot pebble pencil pepper pigeon pillow pocket quill
    quiver rabbit raven ribbon rocket saddle sailor salmon silver sparrow spider spoon summer thunder tiger timber tulip
    turnip turtle umbrella velvet vinegar violin walnut weasel whistle willow window wolf
    """)

  private static func words(_ text: String) -> [String] {
    text.split { $0.isWhitespace }.map(String.init)
  }
}
