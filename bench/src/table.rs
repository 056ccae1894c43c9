//! Numbers in columns: the first column to the left, all others to the right.

pub fn print(head: &[String], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain(head.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in [head].into_iter().chain(rows.iter().map(Vec::as_slice)) {
        let mut line = String::new();
        for (i, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            line.push_str(&if i == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") });
        }
        println!("{}", line.trim_end());
    }
}

/// `1.00×`; a dash where there is nothing to compare.
pub fn ratio(value: Option<f64>, base: Option<f64>) -> String {
    match (value, base) {
        (Some(value), Some(base)) if base > 0.0 => format!("{:.2}×", value / base),
        _ => "-".to_owned(),
    }
}

/// A number with its decimals, or a dash.
pub fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
}
