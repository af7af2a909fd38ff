//! Writes the HTML report: one file that loads nothing from a network.
//!
//! In: profiles and comparisons. Out: the page. It is drawn by `report/page.js` from the profiles,
//! which it contains as JSON; a content security policy in the page forbids all requests.
//! Not here: measuring.

use super::compare::Comparison;
use super::data::{Profile, Slice};
use serde_json::{Value, json};

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/page.css");
const SCRIPT: &str = include_str!("report/page.js");

/// Returns the page. `bases` and `comparisons` have the same indexes as `profiles`.
pub fn html(profiles: &[Profile], bases: &[Option<&Profile>], comparisons: &[Option<Comparison>]) -> String {
    let with_slices = profiles.iter().map(|profile| {
        let mut value = json!(profile);
        value["slices"] = profile.slices.iter().map(slice).collect();
        value
    });
    let data = json!({
        "profiles": with_slices.collect::<Vec<_>>(),
        "bases": bases,
        "comparisons": comparisons,
    });
    // Escaped, so that no text in the data can close the script element.
    let data = data.to_string().replace('<', "\\u003c");
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    let mut rest = PAGE;
    for (mark, text) in [("@@STYLE@@", STYLE), ("@@DATA@@", data.as_str()), ("@@SCRIPT@@", SCRIPT)] {
        let (before, after) = rest.split_once(mark).unwrap_or((rest, ""));
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    page.push_str(rest);
    page
}

fn slice(slice: &Slice) -> Value {
    json!([slice.thread, slice.kind, slice.index, slice.gas, slice.start_ns, slice.end_ns])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_everything_and_names_no_other_place() {
        let profile = Profile { block: "</script><b>".to_owned(), ..Profile::default() };
        let page = html(&[profile], &[None], &[None]);
        assert!(!page.contains("@@"), "every mark is replaced");
        assert!(!page.contains("</script><b>"), "data stays data");
        let places = page.match_indices("http").map(|(at, _)| page[at..].chars().take(26).collect::<String>());
        let named: Vec<String> =
            places.filter(|place| place != "http://www.w3.org/2000/svg" && !place.starts_with("http-equiv")).collect();
        assert_eq!(named, Vec::<String>::new());
        assert!(page.contains("default-src 'none'"));
    }
}
