from hypothesis import given
from hypothesis import strategies as st

from tilth.types import DOCUMENT_SCHEMA, Document, documents_table

texts = st.text(st.characters(exclude_categories=["Cs"]))
documents = st.builds(
    Document.make,
    texts,
    texts,
    url=st.none() | texts,
    language=st.none() | st.sampled_from(["en", "de"]),
    meta=st.dictionaries(texts, st.integers() | texts | st.none()),
)


@given(st.lists(documents, max_size=5))
def test_documents_go_through_arrow_unchanged(batch: list[Document]) -> None:
    table = documents_table(batch)
    assert table.schema.equals(DOCUMENT_SCHEMA)
    assert [Document.from_row(row) for row in table.to_pylist()] == batch
