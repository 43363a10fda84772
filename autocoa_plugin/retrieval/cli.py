"""Commands `autocoa index build | search` and `autocoa serve`: make an index, look into it, serve it to others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[Any]


def add_parser(subparsers: Subparsers) -> None:
    """Register `index` and `serve`; each sets `run`, a function of the parsed arguments that returns an exit status."""
    commands = subparsers.add_parser("index", help="the embedded index: build it, search it").add_subparsers(
        dest="index_command", required=True
    )
    build = commands.add_parser("build", help="build the index of a corpus, unless it is there")
    build.add_argument("corpus", type=Path, help='JSON lines {"id", "title", "text"} or {"id", "contents"}; may be .gz')
    build.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    build.add_argument("--threads", type=int, default=1, help="of the writer; 1 makes the order of ties reproducible")
    build.set_defaults(run=_run_build)
    search = commands.add_parser("search", help="print the best passages for a query")
    search.add_argument("folder", type=Path)
    search.add_argument("query")
    search.add_argument("-k", "--top-k", type=int, default=3)
    search.set_defaults(run=_run_search)
    serve = subparsers.add_parser("serve", help="serve an index over HTTP (Search-R1's and FlashRAG's /retrieve)")
    serve.add_argument("folder", type=Path)
    serve.add_argument("--host", default="127.0.0.1", help="0.0.0.0 = reachable from other machines")
    serve.add_argument("--port", type=int, default=8000)
    serve.set_defaults(run=_run_serve)


def _run_build(arguments: argparse.Namespace) -> int:
    from .index_build import open_or_build

    index = open_or_build(arguments.corpus, arguments.output, threads=arguments.threads, opens=True)
    print(f"{len(index):,} passages in {arguments.output}")
    return 0


def _run_search(arguments: argparse.Namespace) -> int:
    from .base import check_top_k
    from .index import EmbeddedIndex

    check_top_k(arguments.top_k)
    for document in EmbeddedIndex(arguments.folder).search_one(arguments.query, arguments.top_k):
        print(f"{document.score:.2f}  {document.title}  [{document.id}]\n{document.text}\n")
    return 0


def _run_serve(arguments: argparse.Namespace) -> int:
    from .index import EmbeddedIndex
    from .server import serve

    serve(EmbeddedIndex(arguments.folder), host=arguments.host, port=arguments.port)
    return 0
