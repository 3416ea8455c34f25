//! A histogram of durations in constant memory: log-linear cells, as HDR histograms have them.

/// A histogram whose cells are less than 0.4 % of their values wide.
pub type Histogram = LogLinear<8>;

/// A histogram whose cells are less than 7 % of their values wide, for many of them.
pub type Coarse = LogLinear<4>;

/// How often values (nanoseconds) occurred, with exact count, sum and sum of squares.
///
/// There are `2^BITS` cells for each doubling. Quantiles are interpolated within a cell; mean and variance
/// come from the exact sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLinear<const BITS: u32> {
    cells: Vec<u64>,
    count: u64,
    sum: u128,
    sum_of_squares: u128,
    max: u64,
}

impl<const BITS: u32> LogLinear<BITS> {
    /// Counts a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        let cell = Self::cell_of(value);
        if cell >= self.cells.len() {
            self.cells.resize(cell + 1, 0);
        }
        self.cells[cell] += 1;
        self.count += 1;
        self.sum += u128::from(value);
        // Saturates for durations of years only.
        self.sum_of_squares = self.sum_of_squares.saturating_add(u128::from(value) * u128::from(value));
        self.max = self.max.max(value);
    }

    /// Counts all that `other` counted.
    pub fn add(&mut self, other: &Self) {
        if other.cells.len() > self.cells.len() {
            self.cells.resize(other.cells.len(), 0);
        }
        for (cell, more) in self.cells.iter_mut().zip(&other.cells) {
            *cell += more;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.sum_of_squares = self.sum_of_squares.saturating_add(other.sum_of_squares);
        self.max = self.max.max(other.max);
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their exact sum, in nanoseconds.
    #[must_use]
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The largest value, in nanoseconds; 0 without any.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, in nanoseconds; 0 without values.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The variance of the population, in square nanoseconds; 0 without values.
    #[must_use]
    pub fn variance(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let mean = self.mean();
        (self.sum_of_squares as f64 / self.count as f64 - mean * mean).max(0.0)
    }

    /// The value, in nanoseconds, that a share `q` (0 to 1) of the values do not exceed; 0 without values.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        let wanted = q.clamp(0.0, 1.0) * self.count as f64;
        let mut below = 0;
        for (cell, &count) in self.cells.iter().enumerate().filter(|&(_, &count)| count > 0) {
            if (below + count) as f64 >= wanted {
                let (start, width) = Self::bounds(cell);
                let part = (wanted - below as f64) / count as f64;
                return (start as f64 + width as f64 * part.clamp(0.0, 1.0)).min(self.max as f64);
            }
            below += count;
        }
        self.max as f64
    }

    /// How many values are at most `value`, up to the width of a cell.
    #[must_use]
    pub fn count_up_to(&self, value: u64) -> u64 {
        self.cells.iter().take(Self::cell_of(value) + 1).sum()
    }

    /// Values below `2^BITS` have a cell each; then each doubling has as many cells.
    #[inline]
    fn cell_of(value: u64) -> usize {
        let doublings = (u64::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
        ((doublings as usize) << BITS) + (value >> doublings) as usize
    }

    /// A cell's least value and how many values it stands for.
    fn bounds(cell: usize) -> (u64, u64) {
        let doublings = (cell >> BITS).saturating_sub(1);
        let place = cell - (doublings << BITS);
        ((place as u64) << doublings, 1 << doublings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_lies_in_its_cell() {
        let values = (0..4096).chain((0..63).flat_map(|bit| {
            let base = 1u64 << bit;
            [base - 1, base, base + 1, base + base / 3, (base - 1) + base]
        }));
        for value in values.chain([u64::MAX, u64::MAX - 1]) {
            let (start, width) = Histogram::bounds(Histogram::cell_of(value));
            assert!(start <= value && value - start < width, "{value}: {start} {width}");
            assert!(width == 1 || width * 256 <= start, "{value}: the cell is {width} wide");
        }
    }

    #[test]
    fn cells_follow_on_each_other() {
        for cell in 0..10_000 {
            let (start, width) = Histogram::bounds(cell);
            assert_eq!(Histogram::bounds(cell + 1).0, start + width, "{cell}");
        }
    }

    /// Oracle: the sorted values.
    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut prng = lb_core::prng::Prng::new(1);
        let mut values: Vec<u64> = (0..20_000).map(|_| 1 << prng.below(40)).collect();
        values.iter_mut().for_each(|value| *value += prng.below(*value));
        let mut histogram = Histogram::default();
        values.iter().for_each(|&value| histogram.record(value));
        values.sort_unstable();
        for q in [0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let place = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[place - 1] as f64;
            let error = (histogram.quantile(q) - exact).abs() / exact;
            assert!(error < 0.004, "{q}: {} is not {exact}", histogram.quantile(q));
        }
        let mean = values.iter().sum::<u64>() as f64 / values.len() as f64;
        assert!((histogram.mean() - mean).abs() < 1e-6 * mean);
        let squares = values.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>();
        assert!((histogram.variance() / (squares / values.len() as f64) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn adding_is_recording_both() {
        let (mut a, mut b, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for value in 0..1000u64 {
            let part = if value % 3 == 0 { &mut a } else { &mut b };
            part.record(value * value * value);
            both.record(value * value * value);
        }
        a.add(&b);
        assert_eq!(a, both);
        assert_eq!(both.count_up_to(7), 2);
    }

    #[test]
    fn nothing_recorded() {
        let empty = Histogram::default();
        assert_eq!((empty.quantile(0.5), empty.mean(), empty.variance(), empty.max()), (0.0, 0.0, 0.0, 0));
    }
}
