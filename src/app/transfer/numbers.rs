//! The numbers of rows as spreadsheets count them.

/// The most rows with line breaks in their cells that are remembered: 16 bytes each.
const MAX_REMEMBERED: usize = 100_000;

/// For the lines of CSV the rows of a spreadsheet, which has no row for a line that continues a cell.
#[derive(Debug, Default)]
pub(super) struct RowNumbers {
    /// The lines at which the number of such lines above changes, with the number.
    changes: Vec<(i64, i64)>,
    /// The line from which on it is not known.
    end: Option<i64>,
}

impl RowNumbers {
    /// Adds a row: its line, and the number of lines above it that continue a cell.
    pub(super) fn add(&mut self, line: u64, breaks: u64) {
        let (line, breaks) = (signed(line), signed(breaks));
        if self.end.is_some() || self.changes.last().map_or(0, |(_, known)| *known) == breaks {
            return;
        }
        if self.changes.len() < MAX_REMEMBERED {
            self.changes.push((line, breaks));
        } else {
            self.end = Some(line);
        }
    }

    /// Returns the row that starts on a line, if it has another number.
    pub(super) fn of(&self, line: i64) -> Option<i64> {
        let after = self.changes.partition_point(|(changed, _)| *changed <= line);
        let (_, breaks) = self.changes.get(after.checked_sub(1)?)?;
        self.end.is_none_or(|end| line < end).then_some(line - breaks)
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_continue_a_cell_are_no_rows() {
        let mut rows = RowNumbers::default();
        for (line, breaks) in [(2, 0), (3, 0), (5, 1), (6, 1), (9, 3)] {
            rows.add(line, breaks);
        }
        let numbers = [2, 3, 5, 6, 9, 10].map(|line| rows.of(line));
        assert_eq!(numbers, [None, None, Some(4), Some(5), Some(6), Some(7)]);
        for line in 10..200_000 {
            rows.add(line, line);
        }
        assert_eq!((rows.of(20_000), rows.of(199_999)), (Some(0), None));
    }
}
