"""Reading of text: parallel sentences, corpora, labelled and tagged texts, questions."""
