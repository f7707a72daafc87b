"""Tables of CIF texts."""

from zocelery_tasks.images.cif import read_tables


def test_loops_and_single_items_become_tables():
    tables = read_tables(
        "data_x\n_diffrn.id DS1\n_diffrn.crystal_id 'a b'\n"
        "loop_\n_axis.id\n_axis.vector[1] _axis.vector[2]\n"
        "X 1 0\n'Y axis' 0\n1\n"
        "_beam.wavelength 0.9"
    )
    assert tables == {
        "diffrn": [{"id": "DS1", "crystal_id": "a b"}],
        "axis": [
            {"id": "X", "vector[1]": "1", "vector[2]": "0"},
            {"id": "Y axis", "vector[1]": "0", "vector[2]": "1"},
        ],
        "beam": [{"wavelength": "0.9"}],
    }


def test_comments_and_text_fields_hide_what_looks_like_names():
    tables = read_tables(
        "_a.text\n;\n# Detector: _x.y 1\nloop_\n;\n# _c.d 2\n_a.number 3 # _e.f 4\n"
    )
    assert tables["a"] == [{"text": "\n# Detector: _x.y 1\nloop_\n", "number": "3"}]
    assert set(tables) == {"a"}


def test_quotation_marks_inside_words_are_kept():
    tables = read_tables("_a.b it's _a.c 'it's so' _a.d \"_x.y\"")
    assert tables == {"a": [{"b": "it's", "c": "it's so", "d": "_x.y"}]}


def test_names_count_in_any_case_and_with_windows_line_ends():
    tables = read_tables("LOOP_\r\n_Axis.ID\r\nGON_Omega\r\n_Beam.Type Xray\r\n")
    assert tables == {"axis": [{"id": "GON_Omega"}], "beam": [{"type": "Xray"}]}


def test_names_without_values_and_broken_rows_are_left_out():
    tables = read_tables("_a.b\n_c.d 1\nloop_\n_e.f\n_e.g\n1 2 3\nloop_\n_array.data")
    assert tables == {"c": [{"d": "1"}], "e": [{"f": "1", "g": "2"}], "array": []}


def test_nothing_has_no_tables():
    assert read_tables("") == {}
