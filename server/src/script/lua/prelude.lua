-- The world scripts live in. Run once for each kind of code ("script" or "function") when a state is made.
--
-- Scripts see read-only views of the libraries: empty tables whose metatable looks things up in the real ones. What
-- could reach behind a view (rawset, getmetatable, setfenv, ...) is replaced by functions that know of views.
-- All names used here are locals, since nothing in here may depend on what a script can touch.

local host, base, libraries, kind = ...

local coroutine, string, table = base.coroutine, base.string, base.table
local error, ipairs, next, rawequal, select, tonumber, tostring, type, unpack =
  base.error, base.ipairs, base.next, base.rawequal, base.select, base.tonumber, base.tostring, base.type, base.unpack
local getfenv, getmetatable, pcall, rawget, rawset, setfenv, setmetatable, xpcall =
  base.getfenv, base.getmetatable, base.pcall, base.rawget, base.rawset, base.setfenv, base.setmetatable, base.xpcall
local collectgarbage, pairs = base.collectgarbage, base.pairs
local match, sub = string.match, string.sub
local deny, missing, translate_error, where = host.deny, host.missing, host.translate, host.where

local READ_ONLY = 'Attempt to modify a readonly table'

local views = {}   -- all of them, to be swept
local behind = {}  -- view -> real table
local shown = {}   -- view -> the metatable scripts are shown, or false

local function view_of(real, metatable)
  local view, lookup = {}, {__index = real, __newindex = deny, __metatable = false}
  behind[view] = real
  shown[view] = metatable or false
  views[#views + 1] = view
  return setmetatable(view, lookup), lookup
end

local globals = {}
local view, lookup = view_of(globals, (view_of({__index = missing})))
setmetatable(globals, {__index = missing})
-- What is defined from here on has the view as its environment.
setfenv(1, view)

local function copy(from)
  local to = {}
  for k, v in next, from do to[k] = v end
  return to
end

local function translate(err)
  if type(err) == 'userdata' then return translate_error(err) end
  return err
end

-- Protected calls: errors of commands are tables, but pcall has always given their text.

-- A C function called by one of ours says so at the start of its errors.
local function without_place(err)
  if type(err) ~= 'string' then return err end
  return match(err, '^prelude:%d+: (.*)') or err
end

local function settle(ok, ...)
  if ok then return true, ... end
  local err = without_place(translate((...)))
  if type(err) == 'table' then
    local text = err.err
    if type(text) == 'string' or type(text) == 'number' then err = text end
  end
  return false, err
end

local function settle_resume(ok, ...)
  if ok then return true, ... end
  return false, without_place(translate((...)))
end

function globals.pcall(...) return settle(pcall(...)) end

function globals.xpcall(f, handler)
  return xpcall(f, function(err) return handler(translate(err)) end)
end

-- Tables and their metatables.

function globals.getmetatable(...)
  local metatable = shown[(...)]
  if metatable ~= nil then return metatable or nil end
  return getmetatable(...)
end

function globals.setmetatable(t, metatable)
  if behind[t] then error(READ_ONLY, 0) end
  return setmetatable(t, metatable)
end

function globals.rawset(t, k, v)
  if behind[t] then error(READ_ONLY, 0) end
  return rawset(t, k, v)
end

function globals.rawget(t, k) return rawget(behind[t] or t, k) end

local function next_in_view(t, k)
  return next(behind[t], k)
end

globals['next'] = function(t, k) return next(behind[t] or t, k) end

function globals.pairs(t)
  if behind[t] then return next_in_view, t, nil end
  return pairs(t)
end

-- The stack holds 8000 values, and the number of results must not overflow on its way there.
local RESULTS_MAX = 8000

function globals.unpack(t, first, last)
  if type(t) == 'table' then
    local i, j = tonumber(first or 1), tonumber(last or #t)
    if i and j and not (j - i < RESULTS_MAX) then error('too many results to unpack', 2) end
  end
  if first == nil and last == nil then return unpack(t) end
  return unpack(t, first, last)
end

-- Environments. A function that is not of the script's own making keeps the one it has.

local own = {}

function globals.getfenv(f)
  if f == nil then f = 1 end
  if type(f) == 'number' and f >= 1 then f = f + 1 end
  local env = getfenv(f)
  if env == base then return view end
  return env
end

function globals.setfenv(f, env)
  if f == 1 then f = 2 elseif type(f) ~= 'function' or own[f] then
    error("'setfenv' cannot change environment of given object", 2)
  end
  if type(env) ~= 'table' then
    error("bad argument #2 to 'setfenv' (table expected, got " .. type(env) .. ")", 2)
  end
  return setfenv(f, env)
end

-- Code made of strings. It is compiled by the host, which takes no bytecode and stops the collector meanwhile.

local compile = host.compile

function globals.loadstring(text, name) return compile(view, text, name) end

function globals.load(reader, name)
  if type(reader) ~= 'function' then
    error("bad argument #1 to 'load' (function expected, got " .. type(reader) .. ")", 2)
  end
  local parts = {}
  while true do
    local ok, part = settle(pcall(reader))
    if not ok then return nil, part end
    if part == nil or part == '' then break end
    if type(part) ~= 'string' then return nil, 'reader function must return a string' end
    parts[#parts + 1] = part
  end
  return compile(view, table.concat(parts), name or '=(load)')
end

-- The collector is the host's: a script may ask and push, not stop it.
function globals.collectgarbage(option, n)
  if option == nil or option == 'collect' or option == 'count' or option == 'step' then
    return collectgarbage(option, n)
  end
  return 0
end

for _, name in ipairs {'assert', 'error', 'gcinfo', 'ipairs', 'rawequal', 'select', 'tonumber', 'tostring', 'type', '_VERSION'} do
  globals[name] = base[name]
end
globals._G = view

-- Libraries.

local strings = copy(string)
local rep, STRING_MAX = string.rep, 512 * 1024 * 1024

function strings.rep(s, n)
  local times = tonumber(n)
  if type(s) == 'string' and times and #s * times > STRING_MAX then
    error('resulting string too large', 2)
  end
  return rep(s, n)
end

local coroutines = copy(coroutine)
function coroutines.resume(...) return settle_resume(coroutine.resume(...)) end

local maths = copy(base.math)
maths.random, maths.randomseed = host.random, host.randomseed

local tables = copy(table)

local redis = copy(host.redis)
if kind == 'script' then
  function redis.replicate_commands() return true end
else
  redis.breakpoint, redis.debug = nil, nil
end

for name, library in next, {
  string = strings, coroutine = coroutines, math = maths, table = tables, redis = redis,
  bit = libraries.bit, cjson = libraries.cjson, cmsgpack = libraries.cmsgpack, struct = libraries.struct,
} do
  globals[name] = (view_of(library))
end

-- One metatable serves all strings, of scripts and functions alike.
if kind == 'script' then
  local of_strings = getmetatable('')
  of_strings.__index = strings
  of_strings.__metatable = (view_of({__index = globals.string}))
end

-- What library code sees while it is loaded: little, and nothing that runs a command.
local loading_redis = {register_function = host.register_function}
for _, name in ipairs {'log', 'LOG_DEBUG', 'LOG_VERBOSE', 'LOG_NOTICE', 'LOG_WARNING', 'REDIS_VERSION',
                       'REDIS_VERSION_NUM'} do
  loading_redis[name] = redis[name]
end
setmetatable(loading_redis, {__index = missing})
local loading_globals = setmetatable({redis = (view_of(loading_redis))}, {__index = missing})

-- Running.

local function on_error(err)
  local source, line = where()
  err = translate(err)
  local text = without_place(err)
  if text ~= err then err = source and sub(source, 2) .. ':' .. line .. ': ' .. text or text end
  if type(err) ~= 'table' then err = {err = 'ERR ' .. tostring(err)} end
  if source then err.source, err.line = source, line end
  return err
end

globals.__redis__err__handler = on_error

local function run_script(f, keys, args)
  globals.KEYS, globals.ARGV = keys, args
  return xpcall(f, on_error)
end

-- Makes what runs a script with so many keys and arguments, which come one by one; any number of arguments, where none is
-- said. The last that comes is a nil of the host's, which no table shows. A function that knows how many there are is made
-- from its text, since it need not gather them.
local function runner(keys, args)
  local parameters, key_list, arg_list = 'f', '', ''
  for i = 1, keys do
    parameters, key_list = parameters .. ', key' .. i, key_list .. 'key' .. i .. ', '
  end
  for i = 1, args or 0 do
    parameters, arg_list = parameters .. ', arg' .. i, arg_list .. 'arg' .. i .. ', '
  end
  if not args then parameters, arg_list = parameters .. ', ...', '...' end
  local text = 'local globals, xpcall, on_error = ... return function(' .. parameters .. ') globals.KEYS, globals.ARGV = {' ..
    key_list .. '}, {' .. arg_list .. '} return xpcall(f, on_error) end'
  return base.loadstring(text, '=prelude')(globals, xpcall, on_error)
end

local function run_function(f, keys, args)
  return xpcall(function() return f(keys, args) end, on_error)
end

local function load_library(f)
  lookup.__index, behind[view] = loading_globals, loading_globals
  local ok, err = settle_resume(pcall(f))
  lookup.__index, behind[view] = globals, globals
  return ok, err
end

-- Takes away what C functions such as table.insert have put into views.
local function sweep()
  for i = 1, #views do
    local swept = views[i]
    while true do
      local k = next(swept)
      if k == nil then break end
      rawset(swept, k, nil)
    end
  end
end

for _, functions in ipairs {globals, strings, coroutines, maths, tables, redis, loading_redis,
                            libraries.bit, libraries.cjson, libraries.cmsgpack, libraries.struct} do
  for _, f in next, functions do
    if type(f) == 'function' then own[f] = true end
  end
end
own[next_in_view] = true

return {
  view = view, runner = runner,
  run_script = run_script, run_function = run_function, load_library = load_library, sweep = sweep,
}
