/* The map to turn: a ray caster in WebGL 2, lit as the pictures are (T10.2, T10.3). Without WebGL or scripts the page stays
as it is. */
(function(){
"use strict";
var box=document.getElementById("viewer"),note=document.getElementById("viewer-note");
if(!box)return;
var canvas=box.querySelector("canvas"),gl=null;
try{gl=canvas.getContext("webgl2",{alpha:true,antialias:false,powerPreference:"low-power"});}catch(e){gl=null;}
if(!gl)return;
var data={};
document.querySelectorAll("script.volume").forEach(function(s){
var text=atob(s.textContent),bytes=new Uint8Array(text.length);
for(var i=0;i<text.length;i++)bytes[i]=text.charCodeAt(i);
data[s.dataset.name]={n:+s.dataset.n,level:+s.dataset.level,bytes:bytes};
});
var VERTEX="#version 300 es\nvoid main(){vec2 p=vec2(gl_VertexID&1,gl_VertexID>>1)*4.-1.;gl_Position=vec4(p,0,1);}";
var FRAGMENT=["#version 300 es",
"precision highp float;precision highp sampler3D;",
"uniform sampler3D map,res;uniform mat3 view;uniform float level,zoom,step,colour;uniform vec2 size;out vec4 o;",
"const vec3 C[11]=vec3[11](vec3(54,75,154),vec3(74,123,183),vec3(110,166,205),vec3(152,202,225),vec3(194,228,239),vec3(234,236,204),",
"vec3(254,218,139),vec3(253,179,102),vec3(246,126,75),vec3(221,61,45),vec3(165,0,38));",
"float d(vec3 p){vec3 t=.5*p+.5;return any(lessThan(t,vec3(0)))||any(greaterThan(t,vec3(1)))?0.:texture(map,t).r;}",
"vec3 g(vec3 p){float h=1.1*step;return vec3(d(p-vec3(h,0,0))-d(p+vec3(h,0,0)),d(p-vec3(0,h,0))-d(p+vec3(0,h,0)),d(p-vec3(0,0,h))-d(p+vec3(0,0,h)));}",
"void main(){vec2 q=(2.*gl_FragCoord.xy-size)/min(size.x,size.y)/zoom;vec3 dir=-view[2];",
"vec3 start=view[0]*q.x+view[1]*q.y+view[2]*1.8;vec3 a=(-1.-start)/dir,b=(1.-start)/dir,lo=min(a,b),hi=max(a,b);",
"float t=max(max(lo.x,lo.y),max(lo.z,0.)),e=min(hi.x,min(hi.y,hi.z));o=vec4(0);if(t>e)return;",
"float s=.6*step;bool hit=false;for(int i=0;i<512;i++){if(t>e)break;if(d(start+t*dir)>=level){hit=true;break;}t+=s;}if(!hit)return;",
"float l=t-s;for(int i=0;i<5;i++){float m=.5*(l+t);if(d(start+m*dir)>=level)t=m;else l=m;}",
"vec3 p=start+t*dir,w=g(p);vec3 n=normalize(w*view+vec3(0,0,1e-6));vec3 out_n=normalize(w+1e-6);",
"float inside=0.;for(int i=1;i<=4;i++)inside+=smoothstep(.6*level,1.2*level,d(p+out_n*step*float(i)*1.6))/float(i+1);",
"float open=clamp(1.-.8*inside,0.,1.);vec3 base=vec3(158,178,200);",
"if(colour>0.){float r=10.*texture(res,.5*p+.5).r;int i=int(min(r,9.));base=mix(C[i],C[i+1],r-float(i));}",
"base=pow(base/255.,vec3(2.2));vec3 k=normalize(vec3(-.45,.62,.78)),f=normalize(vec3(.8,-.1,.55)),h=normalize(k+vec3(0,0,1));",
"float br=(.78*max(0.,dot(n,k))+.16*max(0.,dot(n,f))+.24*(.7+.3*n.y))*(.35+.65*open)*(1.-.22*clamp(t/3.6,0.,1.));",
"vec3 c=base*br*1.22+.1*pow(max(0.,dot(n,h)),28.)*open;o=vec4(pow(clamp(c,0.,1.),vec3(1./2.2)),1);}"].join("\n");
function shader(kind,text){
var s=gl.createShader(kind);gl.shaderSource(s,text);gl.compileShader(s);
return gl.getShaderParameter(s,gl.COMPILE_STATUS)?s:null;
}
var vs=shader(gl.VERTEX_SHADER,VERTEX),fs=shader(gl.FRAGMENT_SHADER,FRAGMENT),program=gl.createProgram();
if(!vs||!fs)return;
gl.attachShader(program,vs);gl.attachShader(program,fs);gl.linkProgram(program);
if(!gl.getProgramParameter(program,gl.LINK_STATUS))return;
gl.useProgram(program);
gl.bindVertexArray(gl.createVertexArray());
function at(name){return gl.getUniformLocation(program,name);}
function texture(v){
var t=gl.createTexture();gl.bindTexture(gl.TEXTURE_3D,t);gl.pixelStorei(gl.UNPACK_ALIGNMENT,1);
gl.texImage3D(gl.TEXTURE_3D,0,gl.R8,v.n,v.n,v.n,0,gl.RED,gl.UNSIGNED_BYTE,v.bytes);
[gl.TEXTURE_MIN_FILTER,gl.TEXTURE_MAG_FILTER].forEach(function(k){gl.texParameteri(gl.TEXTURE_3D,k,gl.LINEAR);});
[gl.TEXTURE_WRAP_S,gl.TEXTURE_WRAP_T,gl.TEXTURE_WRAP_R].forEach(function(k){gl.texParameteri(gl.TEXTURE_3D,k,gl.CLAMP_TO_EDGE);});
return t;
}
Object.keys(data).forEach(function(k){data[k].texture=texture(data[k]);});
var names=["before","after"].filter(function(k){return data[k];}),shown=names[names.length-1];
var slider=box.querySelector("input[type=range]"),check=box.querySelector("input[type=checkbox]"),factor=1,zoom=1,waits=false;
var VIEWS={z:[1,0,0,0,1,0,0,0,1],y:[1,0,0,0,0,1,0,-1,0],x:[0,1,0,0,0,1,1,0,0]};
var view=turned(turned(VIEWS.z,0.5,0),0,-0.45);
function turned(v,right,up){
var r=[Math.cos(right),Math.sin(right)],u=[Math.cos(up),Math.sin(up)],a=v.slice(),i;
for(i=0;i<3;i++){var x=v[i],z=v[6+i];a[i]=r[0]*x-r[1]*z;a[6+i]=r[1]*x+r[0]*z;}
for(i=0;i<3;i++){var y=a[3+i],w=a[6+i];a[3+i]=u[0]*y+u[1]*w;a[6+i]=u[0]*w-u[1]*y;}
return a;
}
function draw(){
waits=false;
var px=Math.round(Math.min(720,Math.max(240,canvas.clientWidth*Math.min(2,window.devicePixelRatio||1))));
if(canvas.width!==px){canvas.width=canvas.height=px;}
var v=data[shown],r=data[shown+"-resolution"];
gl.viewport(0,0,px,px);gl.clearColor(0,0,0,0);gl.clear(gl.COLOR_BUFFER_BIT);
gl.activeTexture(gl.TEXTURE0);gl.bindTexture(gl.TEXTURE_3D,v.texture);
gl.activeTexture(gl.TEXTURE1);gl.bindTexture(gl.TEXTURE_3D,(r||v).texture);
gl.uniform1i(at("map"),0);gl.uniform1i(at("res"),1);gl.uniformMatrix3fv(at("view"),false,view);
gl.uniform1f(at("level"),v.level*factor);gl.uniform1f(at("zoom"),zoom);gl.uniform1f(at("step"),2/v.n);
gl.uniform1f(at("colour"),r&&check.checked?1:0);gl.uniform2f(at("size"),px,px);
gl.drawArrays(gl.TRIANGLES,0,3);
}
function redraw(){if(!waits){waits=true;requestAnimationFrame(draw);}}
function press(group,on){group.querySelectorAll("button").forEach(function(b){b.setAttribute("aria-pressed",String(b===on));});}
var states=box.querySelector(".states");
if(names.length>1)names.forEach(function(k){
var b=document.createElement("button");b.type="button";b.textContent=k;states.appendChild(b);
b.addEventListener("click",function(){shown=k;press(states,b);redraw();});
if(k===shown)press(states,b);
});
if(!data[shown+"-resolution"])box.querySelector(".colours").hidden=true;
slider.value=30;
slider.addEventListener("input",function(){factor=slider.value/30;redraw();});
check.addEventListener("change",redraw);
box.querySelectorAll(".views button").forEach(function(b){b.setAttribute("aria-label","along "+b.textContent);
b.addEventListener("click",function(){view=VIEWS[b.textContent].slice();redraw();});});
var from=null;
canvas.addEventListener("pointerdown",function(e){from=[e.clientX,e.clientY];canvas.setPointerCapture(e.pointerId);});
canvas.addEventListener("pointermove",function(e){
if(!from)return;
view=turned(view,-(e.clientX-from[0])/120,(e.clientY-from[1])/120);from=[e.clientX,e.clientY];redraw();
});
["pointerup","pointercancel"].forEach(function(k){canvas.addEventListener(k,function(){from=null;});});
function zoomed(by){zoom=Math.min(6,Math.max(0.5,zoom*by));redraw();}
canvas.addEventListener("wheel",function(e){if(document.activeElement!==canvas)return;e.preventDefault();zoomed(e.deltaY<0?1.1:1/1.1);},{passive:false});
canvas.addEventListener("keydown",function(e){
var turn={ArrowLeft:[0.1,0],ArrowRight:[-0.1,0],ArrowUp:[0,-0.1],ArrowDown:[0,0.1]}[e.key];
if(turn){view=turned(view,turn[0],turn[1]);redraw();e.preventDefault();}
else if(e.key==="+"||e.key==="=")zoomed(1.15);
else if(e.key==="-")zoomed(1/1.15);
});
window.addEventListener("resize",redraw);
box.hidden=false;note.hidden=true;draw();
})();
