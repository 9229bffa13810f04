import java.io.File;
import java.util.Map;
import java.util.TreeMap;
import org.HdrHistogram.EncodableHistogram;
import org.HdrHistogram.Histogram;
import org.HdrHistogram.HistogramLogReader;

/** Reads a histogram log, and prints name, count and percentiles of all intervals of each tag. */
class Hlog {
    public static void main(String[] arguments) throws Exception {
        Map<String, Histogram> sums = new TreeMap<>();
        try (HistogramLogReader log = new HistogramLogReader(new File(arguments[0]))) {
            EncodableHistogram next;
            while ((next = log.nextIntervalHistogram()) != null) {
                Histogram interval = (Histogram) next;
                String name = interval.getTag() == null ? "total" : interval.getTag();
                Histogram sum = sums.get(name);
                if (sum == null) {
                    sums.put(name, interval.copy());
                } else {
                    sum.add(interval);
                }
            }
        }
        for (Map.Entry<String, Histogram> entry : sums.entrySet()) {
            Histogram sum = entry.getValue();
            StringBuilder line = new StringBuilder(entry.getKey());
            line.append(' ').append(sum.getTotalCount());
            for (double percentile : new double[] {50, 90, 99, 99.9, 100}) {
                line.append(' ').append(sum.getValueAtPercentile(percentile));
            }
            System.out.println(line);
        }
    }
}
