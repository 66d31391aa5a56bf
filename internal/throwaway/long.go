package throwaway

import "os"

// Long reports whether tests run their long variants: whether the environment
// variable TOKENAUTH_LONG is 1.
func Long() bool { return os.Getenv("TOKENAUTH_LONG") == "1" }
