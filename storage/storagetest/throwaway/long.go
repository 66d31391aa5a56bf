package throwaway

import "os"

// Long reports whether tests run their long variants (TOKENAUTH_LONG=1).
func Long() bool { return os.Getenv("TOKENAUTH_LONG") == "1" }
