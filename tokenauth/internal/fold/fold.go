// Package fold maps the different spellings of a user name to one spelling: see
// [Name].
package fold

import (
	"strings"
	"unicode"
)

// Name returns the same spelling for all user names that at least one storage
// treats as equal. It ignores case, accents, width, invisible characters,
// spaces around the name, and how many spaces separate its parts. Code that must not reveal which user names exist,
// such as the throttle, uses this spelling to treat all of these names alike.
//
// For Latin, Greek and Cyrillic letters it ignores more differences than any
// database collation does. In other scripts it ignores only case.
func Name(name string) string {
	var b strings.Builder
	b.Grow(len(name))
	var last rune
	for _, r := range name {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Cc):
			continue
		case r >= '\uFF01' && r <= '\uFF5E': // full width
			r -= '\uFF01' - '!'
		case unicode.Is(unicode.Z, r):
			r = ' '
		}
		if r == ' ' && last == ' ' {
			continue
		}
		last = r
		r = unicode.ToLower(unicode.ToUpper(r)) // ToUpper for the final sigma, ToLower for the Kelvin sign
		if base, ok := bases[r]; ok {
			b.WriteString(base)
			continue
		}
		b.WriteRune(r)
	}
	return strings.Trim(b.String(), " ")
}

// bases maps each accented letter to its base.
var bases = func() map[rune]string {
	m := make(map[rune]string)
	for line := range strings.Lines(accented) {
		base, variants, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		for _, r := range variants {
			m[r] = base
		}
	}
	return m
}()

// accented has a line for each base: the base, a space, and the letters that
// are folded to it. These letters are the ones that Unicode decomposes (NFKD),
// plus ligatures and letters with a stroke, which collations also fold.
const accented = `a ªàáâãäåāăąǎǟǡǻȁȃȧᴬᵃḁạảấầẩẫậắằẳẵặₐ
ae æǣǽ
b ᴮᵇḃḅḇℬƀ
c çćĉċčᶜḉℂℭꟲ
d ďᴰᵈḋḍḏḑḓⅅⅆđð
dz ǆǳ
e èéêëēĕėęěȅȇȩᴱᵉḕḗḙḛḝẹẻẽếềểễệₑℯℰⅇ
f ᶠḟℱꟳ
ff ﬀ
ffi ﬃ
ffl ﬄ
fi ﬁ
fl ﬂ
g ĝğġģǧǵᴳᵍḡℊǥ
h ĥȟʰᴴḣḥḧḩḫẖₕℋℌℍℎħ
i ìíîïĩīĭįǐȉȋᴵᵢḭḯỉịⁱℐℑℹⅈɨ
ij ĳ
j ĵǰʲᴶⅉⱼ
k ķǩᴷᵏḱḳḵₖ
l ĺļľˡᴸḷḹḻḽₗℒℓł
lj ǉ
m ᴹᵐḿṁṃₘℳ
n ñńņňǹᴺṅṇṉṋⁿₙℕŋ
nj ǌ
o ºòóôõöōŏőơǒǫǭȍȏȫȭȯȱᴼᵒṍṏṑṓọỏốồổỗộớờởỡợₒℴøǿ
oe œ
p ᴾᵖṕṗₚℙ
q ℚꟴ
r ŕŗřȑȓʳᴿᵣṙṛṝṟℛℜℝ
s śŝşšșˢṡṣṥṧṩₛ
ss ß
st ﬅﬆ
t ţťțᵀᵗṫṭṯṱẗₜŧ
th þ
u ùúûüũūŭůűųưǔǖǘǚǜȕȗᵁᵘᵤṳṵṷṹṻụủứừửữự
v ᵛᵥṽṿⱽ
w ŵʷᵂẁẃẅẇẉẘ
x ˣẋẍₓ
y ýÿŷȳʸẏẙỳỵỷỹ
z źżžᶻẑẓẕℤℨƶ
α άἀἁἂἃἄἅἆἇὰάᾀᾁᾂᾃᾄᾅᾆᾇᾰᾱᾲᾳᾴᾶᾷ
β ᵝᵦ
γ ᵞᵧℽℾ
δ ᵟ
ε έἐἑἒἓἔἕὲέ
η ήἠἡἢἣἤἥἦἧὴήᾐᾑᾒᾓᾔᾕᾖᾗῂῃῄῆῇ
θ ᶿ
ι ίΐϊἰἱἲἳἴἵἶἷὶίῐῑῒΐῖῗ
ο όὀὁὂὃὄὅὸό
π ℼℿ
ρ ᵨῤῥ
σ ϲ
υ ύϋΰϒϓϔὐὑὒὓὔὕὖὗὺύῠῡῢΰῦῧ
φ ᵠᵩ
χ ᵡᵪ
ω ώὠὡὢὣὤὥὦὧὼώᾠᾡᾢᾣᾤᾥᾦᾧῲῳῴῶῷ
а ӑӓ
г ѓ
е ѐёӗ
ж ӂӝ
з ӟ
и ѝйӣӥ
к ќ
н ᵸ
о ӧ
у ўӯӱӳ
ч ӵ
ъ ꚜ
ы ӹ
ь ꚝ
э ӭ
і ї
ѵ ѷ
ә ӛ
ө ӫ
ʒ ǯ`
