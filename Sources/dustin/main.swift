print("dustin")
