// Calls to the server that this page came from.

export async function call(method, path, values) {
  const answer = await fetch(path, {
    method,
    headers: values ? { "Content-Type": "application/json" } : {},
    body: values ? JSON.stringify(values) : undefined,
  }).catch(() => { throw new Error("The server does not answer; is `dynaip web` still running?"); });
  const got = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw Object.assign(new Error(got.error.message), { status: answer.status });
  return got;
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function readFile(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}
