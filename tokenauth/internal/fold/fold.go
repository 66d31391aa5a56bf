// Package fold finds what the spellings of a user name have in common.
package fold

import (
	"strings"
	"unicode"
)

// Name returns what user names have in common that some database takes for the
// same name: it ignores case, accents, width, spaces around the name, and
// characters that do not show. What must not tell which names exist goes by it.
//
// It is wider than any collation needs for Latin, Greek and Cyrillic letters, and
// ignores case only in other scripts.
func Name(name string) string {
	var b strings.Builder
	b.Grow(len(name))
	for _, r := range name {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Cc):
			continue
		case r >= '\uFF01' && r <= '\uFF5E': // full width
			r -= '\uFF01' - '!'
		case unicode.Is(unicode.Z, r):
			r = ' '
		}
		r = unicode.ToLower(unicode.ToUpper(r)) // both: the Kelvin sign, the final sigma
		if base, ok := bases[r]; ok {
			b.WriteString(base)
			continue
		}
		b.WriteRune(r)
	}
	return strings.Trim(b.String(), " ")
}

// bases are the letters without their accents.
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

// accented has a line for each base, with the letters that are folded to it: those
// that Unicode decomposes (NFKD), and those with a stroke or joined, which
// collations fold, too.
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
