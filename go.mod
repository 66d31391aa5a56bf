module github.com/bearerkit/bearerkit

go 1.26.0

// The oldest versions that pass the tests and have no known fault that matters
// here. A host keeps its own versions if they are as new as these.
require (
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	github.com/coder/websocket v1.8.12
	github.com/gin-gonic/gin v1.9.1 // Older ones have CVE-2023-29401.
	github.com/go-sql-driver/mysql v1.8.1 // 1.8.0 has a race when a context is canceled.
	github.com/goccy/go-yaml v1.19.2
	github.com/golang-jwt/jwt/v5 v5.2.2 // Older ones have CVE-2025-30204.
	github.com/google/uuid v1.6.0
	github.com/jackc/pgx/v5 v5.5.5 // 5.5.3 and older have CVE-2024-27304.
	github.com/ncruces/go-sqlite3 v0.34.1 // 0.32.0 and older have SQLite's WAL-reset bug.
	github.com/ncruces/go-sqlite3/gormlite v0.24.0 // 0.30.2 requires GORM 1.31.
	github.com/pb33f/libopenapi v0.33.4
	github.com/pb33f/libopenapi-validator v0.11.1 // 0.10.0 does not compile with libopenapi 0.33.
	github.com/pquerna/otp v1.5.0 // Older ones can generate a secret that is only partly random.
	github.com/prometheus/client_golang v1.19.1 // Older ones require a protobuf with CVE-2024-24786.
	github.com/prometheus/client_model v0.5.0
	github.com/redis/rueidis v1.0.74 // Older ones lack DedicatedClient.SetOnInvalidations.
	go.etcd.io/bbolt v1.3.12
	go.opentelemetry.io/otel v1.20.0
	go.opentelemetry.io/otel/sdk v1.20.0
	go.opentelemetry.io/otel/trace v1.20.0 // Older ones lack trace/noop.
	golang.org/x/crypto v0.51.0 // go-sqlite3 requires it.
	golang.org/x/net v0.53.0
	golang.org/x/oauth2 v0.27.0 // Older ones have CVE-2025-22868.
	golang.org/x/sync v0.20.0 // go-sqlite3 requires it.
	golang.org/x/text v0.37.0 // go-sqlite3 requires it.
	gorm.io/driver/mysql v1.5.7 // 1.6.0 requires GORM 1.30.
	gorm.io/driver/postgres v1.5.11 // 1.6.0 requires pgx 5.6.
	gorm.io/gorm v1.25.12 // gormlite and dbresolver require it.
	gorm.io/plugin/dbresolver v1.5.3 // 1.6.2 requires GORM 1.26.
)

require (
	filippo.io/edwards25519 v1.1.0 // indirect
	github.com/bahlo/generic-list-go v0.2.0 // indirect
	github.com/basgys/goxml2json v1.1.1-0.20231018121955-e66ee54ceaad // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/boombuler/barcode v1.0.1-0.20190219062509-6c824513bacc // indirect
	github.com/buger/jsonparser v1.1.1 // indirect
	github.com/bytedance/sonic v1.9.1 // indirect
	github.com/cespare/xxhash/v2 v2.2.0 // indirect
	github.com/chenzhuoyu/base64x v0.0.0-20221115062448-fe3a3abad311 // indirect
	github.com/davecgh/go-spew v1.1.1 // indirect
	github.com/gabriel-vasile/mimetype v1.4.2 // indirect
	github.com/gin-contrib/sse v0.1.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/go-logr/logr v1.4.2 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/go-playground/locales v0.14.1 // indirect
	github.com/go-playground/universal-translator v0.18.1 // indirect
	github.com/go-playground/validator/v10 v10.14.0 // indirect
	github.com/goccy/go-json v0.10.2 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20221227161230-091c0ba34f0a // indirect
	github.com/jackc/puddle/v2 v2.2.1 // indirect
	github.com/jinzhu/inflection v1.0.0 // indirect
	github.com/jinzhu/now v1.1.5 // indirect
	github.com/json-iterator/go v1.1.12 // indirect
	github.com/klauspost/cpuid/v2 v2.2.4 // indirect
	github.com/leodido/go-urn v1.2.4 // indirect
	github.com/mattn/go-isatty v0.0.19 // indirect
	github.com/modern-go/concurrent v0.0.0-20180306012644-bacd9c7ef1dd // indirect
	github.com/modern-go/reflect2 v1.0.2 // indirect
	github.com/ncruces/go-sqlite3-wasm/v2 v2.2.35301 // indirect
	github.com/ncruces/julianday v1.0.0 // indirect
	github.com/pb33f/jsonpath v0.7.1 // indirect
	github.com/pb33f/ordered-map/v2 v2.3.0 // indirect
	github.com/pelletier/go-toml/v2 v2.0.8 // indirect
	github.com/prometheus/common v0.48.0 // indirect
	github.com/prometheus/procfs v0.12.0 // indirect
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.2 // indirect
	github.com/twitchyliquid64/golang-asm v0.15.1 // indirect
	github.com/ugorji/go/codec v1.2.11 // indirect
	go.opentelemetry.io/otel/metric v1.20.0 // indirect
	go.yaml.in/yaml/v4 v4.0.0-rc.4 // indirect
	golang.org/x/arch v0.3.0 // indirect
	golang.org/x/sys v0.44.0 // indirect
	google.golang.org/protobuf v1.33.0 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
)
