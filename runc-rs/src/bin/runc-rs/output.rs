//! What commands print.

use std::io::Write;

use serde::Serialize;

use crate::Failure;

/// Writes to standard output, at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::new(format!("write /dev/stdout: {error}")))
}

/// JSON on one line, as Go's encoder ends it.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// Columns as Go's tabwriter sets them for runc: at least twelve wide, three spaces between.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(9) + 3
    };
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == N {
                text.push_str(cell);
            } else {
                text += &format!("{cell:<width$}", width = width(column));
            }
        }
        text.push('\n');
    }
    text
}
