"JupyterLab on the notebooks, beginning with the sampler explorer: `make lab`. The user's own settings are left alone."
from getpass import getuser
from secrets import token_hex
import os

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyterlab.labapp import LabApp

from docs.books import ROOMS
from docs.notebooks import NBS

FIRST = '/lab/tree/tutorials/20_explorer.ipynb'
ORDER = {room: f'{i} {room}' for i,room in enumerate(('tutorials', 'runs', *ROOMS), 1)}
NEWS = '@jupyterlab/apputils-extension:announcements'


class ReadingOrder(AsyncLargeFileManager):
    "Files on disk. JupyterLab sorts them by name, so those of the rooms begin with a number; their paths stay as they are."
    async def get(self, path, *given, **named):
        found = await super().get(path, *given, **named)
        if not path.strip('/'):
            for entry in found['content'] or (): entry['name'] = ORDER.get(entry['name'], entry['name'])
        return found

def without_news(_, page:dict)->dict:
    "The page's settings, such that it asks no other host for news and updates, and nobody whether it should."
    return page | dict(disabledExtensions=[*page['disabledExtensions'], NEWS])

def tunnel(
    connection:str, # SSH_CONNECTION: address and port of the client, then of the server
    user:str,       # on the server
    port:int,       # of JupyterLab
)->str:
    "What to type on one's own machine."
    host,door = connection.split()[2:]
    return f'ssh -N -L {port}:127.0.0.1:{port} -p {door} {user}@{host}'

def server(token:str, browser:bool):
    "JupyterLab for this machine alone, on the next free port, that ends without a question."
    given = {'ServerApp.root_dir': NBS, 'LabApp.default_url': FIRST, 'ServerApp.contents_manager_class': f'{__name__}.ReadingOrder',
             'ServerApp.ip': '127.0.0.1', 'IdentityProvider.token': token, 'ServerApp.open_browser': browser, 'ServerApp.allow_root': True,
             'ServerApp.answer_yes': True, 'LabApp.extension_manager': 'readonly', 'Application.log_level': 'WARN'}
    app = LabApp.initialize_server([f'--{k}={v}' for k,v in given.items()])
    app.web_app.settings['page_config_hook'] = without_news
    return app


if __name__=='__main__':
    connection,token = os.environ.get('SSH_CONNECTION'),token_hex(16)
    app = server(token, not connection)
    said = [f'The notebooks, beginning with the explorer: http://127.0.0.1:{app.port}{FIRST}?token={token}']
    if connection: said.append(f'First, on your own machine: {tunnel(connection, getuser(), app.port)}')
    app.io_loop.add_callback(print, *said, 'Ctrl-C ends it.', sep='\n', flush=True) # once it answers
    app.start()
