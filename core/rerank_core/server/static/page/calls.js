// The call that the form stands for, as code to copy.

const quoted = (text) => JSON.stringify(text); // also a string in Python
const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const indented = (lines) => lines.map((line) => `    ${line},\n`).join("");
const number = (value) => (value === null ? "None" : String(value));

/**
 * The body of a request to /v1/rerank.
 * `call` has `query`, `documents`, `fusion` ("" for none), `scores` (the retriever's, or null) and `marks`.
 */
export function requestBody(model, { query, documents, fusion, scores, marks }) {
  const body = { model, query, documents };
  if (fusion) body.fusion = fusion === "rrf" ? fusion : Number(fusion);
  if (fusion && scores) body.retrieval_scores = scores;
  if (marks) Object.assign(body, { return_details: true, highlights: 1 });
  return body;
}

function curl(call) {
  const body = requestBody(call.model, call);
  if (call.topN && !call.threshold) body.top_n = call.topN;
  const key = call.keyed ? '  -H "Authorization: Bearer $RERANK_API_KEY" \\\n' : "";
  const most = call.topN ? `the first ${call.topN}` : "those";
  const note = call.threshold ? `# The API has no threshold: of its results, keep ${most} with a score of ${call.threshold} or more.\n` : "";
  return (
    `${note}curl ${shellQuoted(`${call.root}/v1/rerank`)} \\\n${key}  -H 'Content-Type: application/json' \\\n` +
    `  -d ${shellQuoted(JSON.stringify(body, null, 2))}\n`
  );
}

/** The arguments of a constructor: those of the engine, then `more`. */
function engine({ model, root, keyed, fusion, marks }, ...more) {
  const given = [`model=${quoted(model)}`, `base_url=${quoted(root)}`];
  if (keyed) given.push('api_key=os.environ["RERANK_API_KEY"]');
  if (fusion) given.push(`fusion=${fusion === "rrf" ? quoted(fusion) : fusion}`);
  if (marks) given.push("return_details=True", "highlights=1");
  return `\n${indented([...given, ...more.filter(Boolean)])}`;
}

const threshold = (call) => call.threshold && `score_threshold=${call.threshold}`;
const fuses = (call) => call.fusion && call.scores;
const imports = (call, ...lines) => `${call.keyed ? "import os\n\n" : ""}${lines.join("\n")}\n\n`;

/** The lists that all Python snippets share. */
function lists(call) {
  const texts = `documents = [\n${indented(call.texts.map(quoted))}]\n`;
  return fuses(call) ? `${texts}scores = [${call.scores.map(number).join(", ")}]\n` : texts;
}

/** A list of a framework's documents: `made` from each text, with `scored` where there are scores. */
const each = (call, name, made, scored) =>
  fuses(call)
    ? `${name} = [${scored} for text, score in zip(documents, scores)]\n`
    : `${name} = [${made} for text in documents]\n`;

function python(call) {
  const limits = [call.topN && `top_n=${call.topN}`, threshold(call), fuses(call) && "retrieval_scores=scores"];
  const given = [quoted(call.query), "documents", ...limits.filter(Boolean)].join(", ");
  return (
    imports(call, "from rerank_core import Reranker") +
    `reranker = Reranker(${engine(call)})\n${lists(call)}` +
    `for result in reranker.rerank(${given}):\n    print(result.index, result.relevance_score)\n`
  );
}

function llamaIndex(call) {
  const limit = `top_n=${call.topN || call.texts.length}`;
  return (
    imports(
      call,
      "from llama_index.core.schema import NodeWithScore, TextNode",
      "from rerank_plugins.llama_index import CrossEncoderPostprocessor",
    ) +
    `postprocessor = CrossEncoderPostprocessor(${engine(call, limit, threshold(call))})\n${lists(call)}` +
    each(call, "nodes", "NodeWithScore(node=TextNode(text=text))", "NodeWithScore(node=TextNode(text=text), score=score)") +
    `for node in postprocessor.postprocess_nodes(nodes, query_str=${quoted(call.query)}):\n    print(node.score, node.text)\n`
  );
}

function langchain(call) {
  const limits = [`top_n=${call.topN || call.texts.length}`, threshold(call), fuses(call) && 'retrieval_score_key="score"'];
  return (
    imports(
      call,
      "from langchain_core.documents import Document",
      "from rerank_plugins.langchain import CrossEncoderCompressor",
    ) +
    `compressor = CrossEncoderCompressor(${engine(call, ...limits)})\n${lists(call)}` +
    each(call, "found", "Document(page_content=text)", 'Document(page_content=text, metadata={"score": score})') +
    `for document in compressor.compress_documents(found, ${quoted(call.query)}):\n` +
    '    print(document.metadata["relevance_score"], document.page_content)\n'
  );
}

function haystack(call) {
  const limit = `top_k=${call.topN || call.texts.length}`;
  const secret = { ...call, keyed: false };
  const key = call.keyed && 'api_key=Secret.from_env_var("RERANK_API_KEY")';
  const used = call.keyed ? ["from haystack.utils import Secret"] : [];
  return (
    imports(
      secret,
      "from haystack import Document",
      ...used,
      "from rerank_plugins.haystack import CrossEncoderRanker",
    ) +
    `ranker = CrossEncoderRanker(${engine(secret, key, limit, threshold(call))})\n${lists(call)}` +
    each(call, "found", "Document(content=text)", "Document(content=text, score=score)") +
    `for document in ranker.run(query=${quoted(call.query)}, documents=found)["documents"]:\n` +
    "    print(document.score, document.content)\n"
  );
}

const LANGUAGES = { curl, python, llama_index: llamaIndex, langchain, haystack };

/** `call` in a language, with its `model`, `root`, `keyed`, `texts`, `topN` (0 for all) and `threshold` (0 for none). */
export const code = (language, call) => LANGUAGES[language](call);
