//! The summary as JSON.

use crate::summary::Summary;

/// Pretty-printed, with a newline at the end.
pub fn render(summary: &Summary) -> String {
    // Serializing plain structs with string keys into memory has nothing to fail at.
    serde_json::to_string_pretty(summary).map(|text| text + "\n").unwrap_or_default()
}
