package app

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"holdfast/base/disk"
)

// demoWeatherFile is the data set of the demonstration, in the data directory.
const demoWeatherFile = "weather.csv"

// demoZips is how many places the data set has; the real one has some 44,000.
const demoZips = 1000

var demoStates = strings.Split("Alabama,Alaska,Arizona,California,Colorado,Florida,Georgia,Hawaii,Idaho,Illinois,Iowa,"+
	"Kansas,Maine,Montana,Nevada,New Mexico,New York,Ohio,Oregon,Texas,Utah,Vermont,Virginia,Washington,Wyoming", ",")

// writeDemoWeather writes a made-up day of weather, unless it is there: the same each time.
func writeDemoWeather(dir string) (err error) {
	path := filepath.Join(dir, demoWeatherFile)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := disk.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(path + ".part")
	if err != nil {
		return fmt.Errorf("write the weather of the tour: %w", err)
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "time,zip_code,state,name,lat,lon,temp_c,pressure_mb,precip_mm,humidity,cloud,wind_kph,uv")
	for hour := range 24 {
		for zip := range demoZips {
			state := zip * len(demoStates) / demoZips
			north := 25 + 24*float64(state%7)/7
			sun := math.Max(0, math.Sin(float64(hour-6)*math.Pi/12))
			ripple := math.Sin(float64(zip*37 + hour*11)) // in the place of chance
			fmt.Fprintf(w, "2023-09-19 %02d:00,%05d,%s,Town %d,%.2f,%.2f,%.1f,%.1f,%.1f,%.0f,%.0f,%.1f,%.1f\n", hour,
				501+97*zip, demoStates[state], zip, north, -120+50*float64(zip%50)/50, 34-north/2+9*sun+3*ripple,
				1013+8*ripple, math.Max(0, 4*ripple-3), 60-25*sun+15*ripple, 50+50*ripple, 12+10*ripple, 8*sun)
		}
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return fmt.Errorf("write the weather of the tour: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write the weather of the tour: %w", err)
	}
	return os.Rename(path+".part", path)
}
