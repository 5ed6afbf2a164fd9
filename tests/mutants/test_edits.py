"""Each operation of `edits.py` on a small sample; `run.py --check` runs them."""

import unittest

from edits import body, drop, guarded, head, instead, items, part

SAMPLE = r"""
fn read<'a, T>(found: &'a [T], open: char) -> Result<Map<u8, T>, Error> {
    // guard: a let
    let by_key: Map<u8, Vec<T>> = if open == '{' { first(')') } else { b"}".to_vec() };
    // guard: an if with an else
    // Why it is here: "(".
    if by_key.is_empty() && open != '\'' {
        format!("}} {}; \" {{", r#"a " { quote"#);
    } else if open == ';' {
        give_up();
    } else {
        go_on(by_key);
    }
    // guard: a call
    *count += 1; // Of all.
    // guard: the last of three
    release()?;
    match state {
        // guard: an arm with a block
        State::Open { at, .. } | State::Shut { at } if at > now(|| { 1 }) => {
            wait(at);
        }
        // guard: an arm with a comma
        Some(',') => retry(1, 2),
        _ => {}
    }
    *count -= 1;
    read.of(found)
        // guard: a link of a chain
        .filter(|one| matches!(one, T { .. }))?
        .next()
        // guard: the last link
        .ok_or(Error::Empty(')'))
}

impl Drop for Batch {
    // guard: a function
    /// Also after an error; `{` is no bracket here.
    fn drop(&mut self) {
        if self.open {
            self.send();
        }
    }
}

fn small() -> bool {
    // guard: an end
    // guard: a second one for the same end
    value < LIMIT
}
"""


def changed(name, edit):
    """What the edit takes away from the sample, and what it puts there."""
    new = edit(SAMPLE, guarded(SAMPLE, name))
    start = next(at for at in range(len(SAMPLE)) if SAMPLE[at : at + 1] != new[at : at + 1])
    end = next(at for at in range(len(SAMPLE) - start + 1) if SAMPLE[-1 - at] != new[-1 - at] or at >= len(new) - start)
    return SAMPLE[start : len(SAMPLE) - end], new[start : len(new) - end]


def item(name):
    """The item after the guard."""
    return changed(name, instead("§"))[0]


class Edits(unittest.TestCase):
    def test_items_end_where_rust_ends_them(self):
        self.assertEqual(item("a let"), """let by_key: Map<u8, Vec<T>> = if open == '{' { first(')') } else { b"}".to_vec() };""")
        self.assertTrue(item("an if with an else").startswith("if by_key.is_empty()"))
        self.assertTrue(item("an if with an else").endswith("go_on(by_key);\n    }"))
        self.assertEqual(item("a call"), "*count += 1;")
        self.assertTrue(item("an arm with a block").startswith("State::Open { at, .. } |"))
        self.assertTrue(item("an arm with a block").endswith("wait(at);\n        }"))
        self.assertEqual(item("an arm with a comma"), "Some(',') => retry(1, 2),")
        self.assertEqual(item("a link of a chain"), ".filter(|one| matches!(one, T { .. }))?")
        self.assertEqual(item("the last link"), ".ok_or(Error::Empty(')'))")
        self.assertTrue(item("a function").endswith("self.send();\n        }\n    }"))
        self.assertEqual(item("an end"), "value < LIMIT")
        self.assertEqual(item("a second one for the same end"), "value < LIMIT")

    def test_a_block_ends_a_statement_whatever_the_next_begins_with(self):
        self.assertTrue(changed("an if with an else", items(2, "§"))[0].endswith("*count += 1;"))

    def test_drop(self):
        self.assertEqual(changed("an arm with a comma", drop()), ("Some(',') => retry(1, 2),", ""))
        self.assertEqual(changed("a link of a chain", drop()), (".filter(|one| matches!(one, T { .. }))?", ""))

    def test_instead_takes_what_it_is_given_as_it_is(self):
        self.assertEqual(changed("an end", instead("§{1}")), ("value < LIMIT", "§{1}"))

    def test_items_change_places_and_keep_the_comments_between_them(self):
        old, new = changed("a call", items(2, "§{2}\n{1}§"))
        self.assertEqual(old, "*count += 1; // Of all.\n    // guard: the last of three\n    release()?;")
        self.assertEqual(new, "§// Of all.\n    // guard: the last of three\n    release()?;\n*count += 1;§")

    def test_head_of_an_if(self):
        self.assertEqual(changed("an if with an else", head("§ "))[0], r"by_key.is_empty() && open != '\''")

    def test_head_of_an_arm(self):
        self.assertEqual(changed("an arm with a block", head("§ ")), ("at > now(|| { 1 })", "§ "))

    def test_there_is_no_head_where_nothing_is_looked_at(self):
        with self.assertRaises(ValueError):
            changed("a call", head("true"))

    def test_body(self):
        old, new = changed("a function", body("§"))
        self.assertEqual(old.split(), "if self.open { self.send(); }".split())
        self.assertEqual(new, "§")

    def test_part_is_of_the_item_alone_and_there_once(self):
        self.assertEqual(changed("an end", part("LIMIT", "§")), ("LIMIT", "§"))
        with self.assertRaises(ValueError):
            changed("an end", part("count", "§"))
        with self.assertRaises(ValueError):
            changed("an if with an else", part("else", "§"))

    def test_a_guard_is_marked_once(self):
        for text in ["", SAMPLE * 2]:
            with self.assertRaises(ValueError):
                guarded(text, "an end")


if __name__ == "__main__":
    unittest.main()
