package throwaway

import "os"

// Long reports whether tests should run their long variants. They should if the
// environment variable TOKENAUTH_LONG is 1.
func Long() bool { return os.Getenv("TOKENAUTH_LONG") == "1" }
