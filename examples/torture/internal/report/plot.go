package report

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// A Series is a line of a plot. See [Report.Plot].
type Series struct {
	Name string
	X, Y []float64
}

// Add adds a point.
func (l *Series) Add(x, y float64) {
	l.X = append(l.X, x)
	l.Y = append(l.Y, y)
}

// Plot draws the lines into an SVG file in the report's folder. It returns the name of
// the file. X and y are the labels of the axes.
func (r *Report) Plot(name, title, x, y string, lines ...Series) (string, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	for i, s := range lines {
		points := make(plotter.XYs, len(s.X))
		for j := range s.X {
			points[j].X, points[j].Y = s.X[j], s.Y[j]
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return "", err
		}
		line.Color = plotutil.Color(i)
		p.Add(line)
		p.Legend.Add(s.Name, line)
	}
	file := name + ".svg"
	return file, p.Save(20*vg.Centimeter, 8*vg.Centimeter, r.Path(file))
}
